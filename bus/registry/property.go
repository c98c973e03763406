package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// A declaration is a JSON object, or the text of one: CloudFormation turns every number and boolean of a resource's properties
// into text, and text is how a value gets through unchanged. Of objects only members that are known to be numbers or booleans are
// turned back, so that an id "123" and a setting "true" stay what they are (W-O8).
//
//	bot     {id, name, description, owner, lambdaName, invocation, settings, time, timeZone, triggers, writes, tags, timeout,
//	         delay, paused, …}: what else there is becomes an attribute of the bot's row
//	system  {LeoRegisterType: "system", id, …}: the rest is merged into the system's document
//	schemas {queue, schemas: {VERSION: {definitionsSchema, versionSchema}}}
//
// The name of the property is the id where there is none, except of schemas.

// kinds of declarations.
type kind int

const (
	kindBot kind = iota
	kindSystem
	kindSchemas
)

// declared is a set that was read.
type declared struct {
	bots    map[string]declaration
	systems []store.System
	schemas []schemas
}

// parse reads the set and reports everything that is wrong with it, in one error.
func (s *Set) parse() (*declared, error) {
	d := &declared{bots: map[string]declaration{}}
	var errs []error
	add := func(b declaration) {
		if _, ok := d.bots[b.ID]; ok {
			errs = append(errs, fmt.Errorf("bot %s is declared twice", b.ID))
		}
		if err := check(b.Registration); err != nil {
			errs = append(errs, err)
		}
		d.bots[b.ID] = b
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if err := s.parseOne(name, d, add); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	for _, b := range s.Bots {
		add(declaration{Registration: b, says: allFields[:]})
	}
	if len(errs) == 0 {
		return d, nil
	}
	return nil, fmt.Errorf("%w: %w", ErrInvalid, join(errs))
}

// check returns why a store would refuse a registration, which would be too late: others are written by then.
func check(b store.Registration) error {
	for _, name := range slices.Concat(b.Triggers, b.Writes) {
		if ref.Parse(name).ID == "" {
			return fmt.Errorf("bot %s: reference %q names nothing", b.ID, name)
		}
	}
	return b.Validate()
}

// join returns one error of one line for all.
func join(errs []error) error {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = strings.ReplaceAll(err.Error(), "\n", " ")
	}
	return errors.New(strings.Join(texts, "; "))
}

func (s *Set) parseOne(name string, d *declared, add func(declaration)) error {
	o, err := object(s.Properties[name])
	if err != nil {
		return err
	}
	kind, id, err := o.kind(name)
	if err != nil {
		return err
	}
	switch kind {
	case kindSystem:
		sys, err := o.system(id)
		if err != nil {
			return err
		}
		d.systems = append(d.systems, sys)
	case kindSchemas:
		sch, err := o.schemas(id)
		if err != nil {
			return err
		}
		d.schemas = append(d.schemas, sch)
	default:
		b, err := o.bot(id)
		if err != nil {
			return err
		}
		add(declaration{Registration: b, says: o.fields()})
	}
	return nil
}

// members are those of a declaration.
type members map[string]json.RawMessage

// object reads a JSON object, or the text of one. Members that are null count as absent.
func object(value json.RawMessage) (members, error) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		value = json.RawMessage(text)
	}
	var m members
	if err := json.Unmarshal(value, &m); err != nil || m == nil {
		return nil, fmt.Errorf("want a JSON object, got %.60s", value)
	}
	for name, v := range m {
		if bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
			delete(m, name)
		}
	}
	return m, nil
}

// kind tells what is declared, and its id: that of a bot, a system or a queue.
func (m members) kind(property string) (kind, string, error) {
	id, err := m.text("id")
	if err != nil {
		return 0, "", err
	}
	queue, err := m.text("queue")
	if err != nil && id == "" {
		return 0, "", err
	}
	var typ string
	if typ, err = m.text("LeoRegisterType"); err != nil {
		return 0, "", err
	}
	switch {
	case typ == "system":
		if id == "" {
			id = property
		}
		id = ref.ParseSystem(id).ID
		if id == "" {
			return 0, "", errors.New("the system has no id")
		}
		return kindSystem, id, nil
	case queue != "" && id == "":
		return kindSchemas, queue, nil
	case typ != "" && typ != "bot":
		return 0, "", fmt.Errorf("LeoRegisterType is %q, want bot or system", typ)
	}
	if id == "" {
		id = property
	}
	if id = functionName(id); id == "" {
		return 0, "", errors.New("the bot has no id")
	}
	return kindBot, id, nil
}

// functionName returns the name in the ARN of a Lambda function, and any other text as it is.
func functionName(s string) string {
	part := strings.SplitN(s, ":", 8)
	if len(part) >= 7 && part[0] == "arn" && part[2] == "lambda" && part[5] == "function" {
		return part[6]
	}
	return s
}

// text returns a member that must be text, "" where it is absent. A number is taken as it is written.
func (m members) text(name string) (string, error) {
	v, ok := m[name]
	if !ok {
		return "", nil
	}
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s, nil
	}
	var n json.Number
	if json.Unmarshal(v, &n) == nil {
		return n.String(), nil
	}
	return "", fmt.Errorf("%s must be text, not %.60s", name, v)
}

// number returns a member that must be a whole number of at least 0, 0 where it is absent.
func (m members) number(name string) (int64, error) {
	s, err := m.text(name)
	if err != nil || absent(s) {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s must be a whole number, not %.60q", name, s)
	}
	return n, nil
}

// boolean returns a member that must be true or false, def where it is absent.
func (m members) boolean(name string, def bool) (bool, error) {
	v, ok := m[name]
	if !ok {
		return def, nil
	}
	switch text := strings.Trim(string(v), `" `); {
	case text == "true":
		return true, nil
	case text == "false":
		return false, nil
	case absent(text):
		return def, nil
	}
	return def, fmt.Errorf("%s must be true or false, not %.60s", name, v)
}

// absent tells whether text is what CloudFormation makes of a value that is not there.
func absent(text string) bool { return text == "" || text == "null" || text == "undefined" }

// list returns a member that is a list of texts, or one text with commas.
func (m members) list(name string) ([]string, error) {
	v, ok := m[name]
	if !ok {
		return nil, nil
	}
	var list []string
	if json.Unmarshal(v, &list) == nil {
		return list, nil
	}
	var text string
	if json.Unmarshal(v, &text) != nil {
		return nil, fmt.Errorf("%s must be a list of texts, not %.60s", name, v)
	}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); !absent(part) {
			list = append(list, part)
		}
	}
	return list, nil
}

// reader reads members one after the other and remembers the first fault.
type reader struct {
	members
	err error
}

func (r *reader) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func get[T any](r *reader, read func(string) (T, error), name string) T {
	v, err := read(name)
	r.note(err)
	return v
}

// ours are the members of a bot that have a field. The rest are attributes.
var ours = [...]string{
	"id", "name", "description", "owner", "lambdaName", "invocation", "settings", "lambda", "time", "timeZone", "triggers",
	"writes", "tags", "timeout", "delay", "paused", "LeoRegisterType",
}

// bot reads the declaration of a bot. What it does not say is as createBot has it for new bots: the function is named like the bot,
// and they begin paused (C61).
func (m members) bot(id string) (store.Registration, error) {
	r := &reader{members: m}
	b := store.Registration{
		ID: id, Name: get(r, m.text, "name"), Description: get(r, m.text, "description"), Owner: get(r, m.text, "owner"),
		Schedule: get(r, m.text, "time"), TimeZone: get(r, m.text, "timeZone"),
		Timeout: get(r, m.number, "timeout"), Delay: get(r, m.number, "delay"),
		Triggers: get(r, m.list, "triggers"), Writes: get(r, m.list, "writes"), Tags: get(r, m.list, "tags"),
	}
	var err error
	b.Paused, err = m.boolean("paused", true)
	r.note(err)
	b.Invocation = m.invocation(r, id)
	settings := m.settings(r)
	if r.err != nil {
		return store.Registration{}, r.err
	}
	if b.Name == "" {
		b.Name = id
	}
	if b.Description == "" {
		b.Description = b.Name
	}
	if absent(b.Schedule) {
		b.Schedule = ""
	}
	if absent(b.TimeZone) {
		b.TimeZone = ""
	}
	if err := checkTime(b.Schedule, b.TimeZone); err != nil {
		return store.Registration{}, err
	}
	if err := settings.apply(&b); err != nil {
		return store.Registration{}, err
	}
	for _, q := range slices.Concat(b.Triggers, b.Writes) {
		if err := ref.ValidateQueue(q); err != nil {
			return store.Registration{}, err
		}
	}
	for name, value := range m {
		if slices.Contains(ours[:], name) {
			continue
		}
		b.Extra = with(b.Extra, name, value)
	}
	b.Extra = booleans(b.Extra, "ignoreMonitor", "readCaughtUp")
	return b, nil
}

// invocation reads how the bot is run.
func (m members) invocation(r *reader, id string) store.Invocation {
	lambda := get(r, m.text, "lambdaName")
	if v, ok := m["invocation"]; ok {
		o, err := object(v)
		if err != nil {
			r.note(fmt.Errorf("invocation: %w", err))
			return store.Invocation{}
		}
		i := store.Invocation{
			Type: get(r, o.text, "type"), Lambda: get(r, o.text, "lambdaName"), Qualifier: get(r, o.text, "qualifier"),
			ARN: get(r, o.text, "arn"), URL: get(r, o.text, "url"),
		}
		switch {
		case i.Type == "lambda" && i.Lambda == "":
			i.Lambda = lambda
		case !slices.Contains([]string{"lambda", "sns", "url", "none"}, i.Type):
			r.note(fmt.Errorf("invocation: type is %q, want lambda, sns, url or none", i.Type))
		}
		if i.Type == "lambda" && i.Lambda == "" || i.Type == "sns" && i.ARN == "" || i.Type == "url" && i.URL == "" {
			r.note(fmt.Errorf("invocation: type %s needs its lambdaName, arn or url", i.Type))
		}
		return i
	}
	if absent(lambda) {
		lambda = id
	}
	return store.Invocation{Type: "lambda", Lambda: lambda}
}

// booleans turns the texts of known attributes into booleans.
func booleans(extra map[string]json.RawMessage, names ...string) map[string]json.RawMessage {
	for _, name := range names {
		switch string(extra[name]) {
		case `"true"`:
			extra[name] = json.RawMessage("true")
		case `"false"`:
			extra[name] = json.RawMessage("false")
		}
	}
	return extra
}
