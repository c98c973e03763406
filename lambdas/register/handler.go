package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/registry"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
	"github.com/rstreams-go/rstreams/sdk/replicate"
)

// handler serves requests.
type handler struct {
	registry *registry.Registry
	// broken is why the function cannot work, nil if it can.
	broken error
	client *http.Client
	logger *slog.Logger
	// wait spaces the attempts to answer; nil means time.
	wait func(ctx context.Context, attempt int)
}

// request is what CloudFormation sends to the service of a custom resource.
type request struct {
	RequestType           string
	ResponseURL           string
	StackID               string `json:"StackId"`
	RequestID             string `json:"RequestId"`
	LogicalResourceID     string `json:"LogicalResourceId"`
	PhysicalResourceID    string `json:"PhysicalResourceId"`
	ResourceProperties    map[string]json.RawMessage
	OldResourceProperties map[string]json.RawMessage
}

// errTime ends the work of a request while there is time to answer it.
var errTime = errors.New("there was not enough time; a larger timeout of the register function, or fewer bots in a resource, helps")

// answerTime is kept for the answer.
const answerTime = 15 * time.Second

// handle serves one request. Its error, after which Lambda delivers the request again, means that nobody knows of the outcome.
func (h *handler) handle(ctx context.Context, r request) (registry.Result, error) {
	result, err := h.work(ctx, r)
	log := h.logger.With("type", r.RequestType, "stack", r.StackID, "resource", r.LogicalResourceID, "request", r.RequestID)
	if err != nil {
		log.ErrorContext(ctx, "the request failed", "error", err)
	} else {
		log.InfoContext(ctx, "done", "result", result)
	}
	if r.ResponseURL == "" {
		return result, err
	}
	return result, h.respond(ctx, r, result, err)
}

// work does what the request asks for. It returns in time for an answer, whatever happens.
func (h *handler) work(ctx context.Context, r request) (result registry.Result, err error) {
	if h.broken != nil {
		return result, h.broken
	}
	ctx, cancel := shell.Ahead(ctx, answerTime, errTime)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the register function failed: %v", p)
		}
		if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errTime) {
			err = errTime
		}
	}()
	registrar := r.registrar()
	switch r.RequestType {
	case "", "Create":
		next, err := set(r.ResourceProperties)
		if err != nil {
			return result, err
		}
		return h.registry.Apply(ctx, registrar, next, nil)
	case "Update":
		next, err := set(r.ResourceProperties)
		if err != nil {
			return result, err
		}
		return h.registry.Apply(ctx, registrar, next, lenient(r.OldResourceProperties))
	case "Delete":
		// A resource whose creation failed may have registered nothing, and what is there under the names belongs to somebody
		// else: only bots that carry its mark are retired.
		strict := strings.HasPrefix(r.PhysicalResourceID, failedPrefix)
		return h.registry.Retire(ctx, registrar, strict, lenient(r.ResourceProperties))
	}
	return result, fmt.Errorf("RequestType is %.40q, want Create, Update or Delete", r.RequestType)
}

// registrar names the resource, the same for all requests of its life; "" for direct invocations.
func (r request) registrar() string {
	if r.StackID == "" {
		return ""
	}
	return r.StackID + "/" + r.LogicalResourceID
}

// failedPrefix begins the physical ids of resources that were never created.
const failedPrefix = "failed-"

// physicalID returns the id under which CloudFormation knows the resource. It never changes, or CloudFormation would delete what it
// takes for the old resource.
func (r request) physicalID(failed bool) string {
	switch {
	case r.PhysicalResourceID != "":
		return r.PhysicalResourceID
	case failed:
		return failedPrefix + r.RequestID
	case len(declarations(r.ResourceProperties)) == 0:
		return "install"
	}
	return r.LogicalResourceID
}

// The properties that declare nothing, and those that set up replication.
const (
	propertyRoles      = replicate.ParameterRoles
	propertyMapping    = replicate.ParameterMapping
	propertyReplicator = "SourceQueueReplicator"
)

// declarations returns the properties that declare something.
func declarations(properties map[string]json.RawMessage) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for name, value := range properties {
		switch name {
		case "ServiceToken", "ServiceTimeout", "Version", propertyRoles, propertyMapping, propertyReplicator:
		default:
			out[name] = value
		}
	}
	return out
}

// set returns what the properties declare. Properties that declare nothing are those of the bus's own resource: they stand for the
// bus's own bots.
func set(properties map[string]json.RawMessage) (*registry.Set, error) {
	s := &registry.Set{Properties: declarations(properties)}
	copies, err := copies(properties)
	if err != nil {
		return nil, err
	}
	s.Bots = copies
	if len(s.Properties) == 0 {
		s.Bots = append(ownBots(), copies...)
	}
	return s, nil
}

// lenient is set for properties of the past, which may never have been valid: they must not keep a stack from being deleted.
func lenient(properties map[string]json.RawMessage) *registry.Set {
	s, err := set(properties)
	if err != nil {
		return &registry.Set{Properties: declarations(properties)}
	}
	return s
}

// copies returns the bots that copy queues to other buses.
func copies(properties map[string]json.RawMessage) ([]store.Registration, error) {
	roles, err := texts(properties[propertyRoles])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", propertyRoles, err)
	}
	routes, err := replicate.Routes(roles, properties[propertyMapping])
	if err != nil {
		return nil, err
	}
	var function string
	if value := properties[propertyReplicator]; len(value) > 0 {
		if err := json.Unmarshal(value, &function); err != nil {
			return nil, fmt.Errorf("%s: want the ARN of the replicator function", propertyReplicator)
		}
	}
	if len(routes) > 0 && function == "" {
		return nil, fmt.Errorf("%s is not set: want the ARN of the function that copies queues", propertyReplicator)
	}
	bots := make([]store.Registration, len(routes))
	for i, route := range routes {
		if bots[i], err = route.Registration(function); err != nil {
			return nil, err
		}
	}
	return bots, nil
}

// texts reads a list of texts, or one text with commas.
func texts(value json.RawMessage) ([]string, error) {
	if len(value) == 0 {
		return nil, nil
	}
	var list []string
	if json.Unmarshal(value, &list) == nil {
		return list, nil
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, errors.New("want a list of texts, or one with commas")
	}
	return strings.Split(text, ","), nil
}

// ownBots are the rows of the bots that the bus's own functions write as. Nothing runs them but their own event sources, so they
// have no invocation; the rows keep their checkpoints and show them to operators (C45).
func ownBots() []store.Registration {
	own := func(id, name, description string) store.Registration {
		return store.Registration{
			ID: id, Name: name, Description: description, Owner: "leo", Invocation: store.Invocation{Type: "none"},
		}
	}
	return []store.Registration{
		own("leo_cron_monitor", "Leo Cron Monitor", "tells of what bots do, in the queue monitor"),
		own("leo-archiver", "Leo Archiver", "writes the archives of queues"),
	}
}
