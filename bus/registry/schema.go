package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rstreams-go/rstreams/bus/ref"
)

// SchemaKey returns the key of the blob that holds the schemas of a queue: a JSON object of versions (bus.md 2.7).
func SchemaKey(queue string) string {
	return "files/bus_internal/queue_schemas/" + ref.Queue(queue) + ".json"
}

// schemas are the schemas of a queue, as they are stored.
type schemas struct {
	queue string
	text  []byte
}

// semver is a semantic version, as semver.org gives it.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// schemas reads the declaration of a queue's schemas. Every one must compile.
func (m members) schemas(queue string) (schemas, error) {
	if err := ref.ValidateQueue(queue); err != nil {
		return schemas{}, err
	}
	raw, ok := m["schemas"]
	if !ok {
		return schemas{}, errors.New("it has a queue and neither an id nor schemas")
	}
	versions, err := object(raw)
	if err != nil {
		return schemas{}, fmt.Errorf("schemas: %w", err)
	}
	out := map[string]map[string]any{}
	for _, version := range slices.Sorted(maps.Keys(versions)) {
		if !semver.MatchString(version) {
			return schemas{}, fmt.Errorf("schemas: %q is no semantic version such as 1.0.0", version)
		}
		if out[version], err = compile(versions[version]); err != nil {
			return schemas{}, fmt.Errorf("schemas: version %s: %s", version, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	text, err := json.Marshal(out)
	return schemas{queue: ref.Queue(queue), text: text}, err
}

// compile reads and checks the schemas of one version.
func compile(value json.RawMessage) (map[string]any, error) {
	parts, err := object(value)
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(noLoader{})
	out := map[string]any{}
	var names []string
	for _, part := range []string{"definitionsSchema", "versionSchema"} {
		v, ok := parts[part]
		if !ok {
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(v))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
		if text, ok := doc.(string); ok {
			if doc, err = jsonschema.UnmarshalJSON(strings.NewReader(text)); err != nil {
				return nil, fmt.Errorf("%s: %w", part, err)
			}
		}
		doc = restore(doc)
		out[part] = doc
		// References between the two go by $id; a schema without one is only known by the name of its part.
		name := part + ".json"
		if o, ok := doc.(map[string]any); ok {
			if id, ok := o["$id"].(string); ok && id != "" {
				name = strings.TrimSuffix(id, "#")
			}
		}
		if err := c.AddResource(name, doc); err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
		names = append(names, name)
	}
	if out["versionSchema"] == nil {
		return nil, errors.New("it has no versionSchema")
	}
	for i, name := range names {
		if _, err := c.Compile(name); err != nil {
			return nil, fmt.Errorf("schema %d of %d: %w", i+1, len(names), err)
		}
	}
	return out, nil
}

// noLoader keeps schemas from being fetched from anywhere: what they refer to must be declared with them.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s, which is not declared with it", url)
}

// storeSchemas writes the schemas of a queue, in place of those that were there.
func (r *Registry) storeSchemas(ctx context.Context, s schemas) error {
	_, _, err := r.store.Blobs.Put(ctx, SchemaKey(s.queue), bytes.NewReader(s.text))
	return err
}

// The keywords of JSON Schema by what their values are.
var (
	numbers = []string{
		"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "maxItems", "minItems",
		"maxProperties", "minProperties", "maxContains", "minContains",
	}
	flags       = []string{"uniqueItems", "deprecated", "readOnly", "writeOnly", "nullable", "exclusiveMaximum", "exclusiveMinimum"}
	subschema   = []string{"additionalProperties", "additionalItems", "items", "contains", "not", "if", "then", "else", "propertyNames", "unevaluatedItems", "unevaluatedProperties"}
	subschemas  = []string{"allOf", "anyOf", "oneOf", "prefixItems", "items"}
	byName      = []string{"properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies"}
	numericText = regexp.MustCompile(`^-?\d+(\.\d+)?([eE][+-]?\d+)?$`)
)

// restore turns back what CloudFormation made text of, in a schema: the values of keywords that are numbers, booleans or schemas.
// Constants, examples and defaults are data and stay what they are.
func restore(schema any) any {
	switch s := schema.(type) {
	case string:
		if s == "true" || s == "false" {
			return s == "true"
		}
	case map[string]any:
		for key, v := range s {
			text, isText := v.(string)
			list, isList := v.([]any)
			named, isObject := v.(map[string]any)
			switch {
			case isText && slices.Contains(flags, key) && (text == "true" || text == "false"):
				s[key] = text == "true"
			case isText && slices.Contains(numbers, key) && numericText.MatchString(text):
				s[key] = json.Number(text)
			case isList && slices.Contains(subschemas, key):
				for i := range list {
					list[i] = restore(list[i])
				}
			case isObject && slices.Contains(byName, key):
				for name := range named {
					named[name] = restore(named[name])
				}
			case slices.Contains(subschema, key):
				s[key] = restore(v)
			}
		}
	}
	return schema
}
