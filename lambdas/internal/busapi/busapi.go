// Package busapi answers requests of programs that have no SDK: to start and end a run of a bot, to read, to write, and to checkpoint
// (bus.md 3.10, C62).
//
// A request is a JSON object, or an object with it, or its text, under body:
//
//	{"type": "start", "id": BOT, "options": {"lock", "force", "maxDuration"}}                 token: {requestId, ts}
//	{"type": "end", "id": BOT, "token": {…}, "status", "log", "result", "checkpoint": {queue, eid, …}}
//	{"type": "read", "id": BOT, "queue": QUEUE, "options": {"start", "limit", "size"}}        events, count, queue, position
//	{"type": "write", "id": BOT, "queue": QUEUE, "events": [...] or one, "options"}           count, queue
//	{"type": "checkpoint", "id": BOT, "queue": QUEUE, "eid", "expected", "force", …}          eid
//
// An answer has status "success" or "error", error, and duration in ms. Requests share nothing: what one leaves is on the bus.
package busapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// ErrUnsupported reports a request of an unknown type. It fails the invocation, where other errors are an answer.
var ErrUnsupported = errors.New("Unsupported action") //nolint:staticcheck // It is the original's text.

// errRequest reports a request that cannot be understood.
var errRequest = errors.New("invalid request")

// Options configures New. The zero value is usable.
type Options struct {
	// Now is the clock; nil means time.Now. Logger gets failures; nil means slog.Default.
	Now    func() time.Time
	Logger *slog.Logger
	// MaxAnswer is the most bytes of events that an answer holds; 0 means 5.5 MiB, which Lambda's 6 MB have room for.
	MaxAnswer int
}

// API answers requests. It is safe for concurrent use.
type API struct {
	store store.Store
	o     Options
}

// New returns an API of the bus on st, which needs an Intake.
func New(st store.Store, o Options) *API {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = 5_500 << 10
	}
	return &API{store: st, o: o}
}

// request is what is common to all requests, and what only some have.
type request struct {
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	Queue   string          `json:"queue"`
	Options json.RawMessage `json:"options"`
	// Of end.
	Token      *token          `json:"token"`
	Status     string          `json:"status"`
	Log        json.RawMessage `json:"log"`
	Result     json.RawMessage `json:"result"`
	Checkpoint *checkpoint     `json:"checkpoint"`
	// Of write.
	Events json.RawMessage `json:"events"`
	// Of checkpoint. Its `type` is the request's, so a checkpoint of what was written says so in `checkpointType`.
	checkpoint
}

// answerTime is kept for the answer.
const answerTime = 2 * time.Second

// errTime ends the work of a request while there is time to answer it.
var errTime = errors.New("the function's time is over")

// Handle answers the request with the given id, which identifies the run that a start begins. The error, which fails the
// invocation, is for requests that are none.
func (a *API) Handle(ctx context.Context, requestID string, text json.RawMessage) (json.RawMessage, error) {
	began := a.o.Now()
	r, err := parse(text)
	if err != nil {
		return nil, err
	}
	work := map[string]func(context.Context, *call) (map[string]any, error){
		"start": a.start, "end": a.end, "read": a.read, "write": a.write, "checkpoint": a.checkpoint,
	}[r.Type]
	if work == nil {
		return nil, fmt.Errorf("%w '%s'.", ErrUnsupported, r.Type) //nolint:staticcheck // As above.
	}
	ctx, cancel := shell.Ahead(ctx, answerTime, errTime)
	defer cancel()
	c := &call{request: *r, requestID: requestID}
	session := rstreams.Session{Bot: r.ID}
	if deadline, ok := ctx.Deadline(); ok {
		session.StopAt = deadline.Add(-answerTime / 2) // A read ends with what it has.
	}
	c.bus = rstreams.New(a.store, rstreams.Options{Now: a.o.Now, Logger: a.o.Logger}).Session(session)
	var out map[string]any
	if r.ID == "" {
		err = fmt.Errorf("%w: it names no bot (id)", errRequest)
	} else {
		out, err = work(ctx, c)
	}
	if out == nil {
		out = map[string]any{}
	}
	out["status"] = "success"
	if err != nil {
		a.o.Logger.ErrorContext(ctx, "the request failed", "type", r.Type, "bot", r.ID, "queue", r.Queue, "error", err)
		out["status"], out["error"] = "error", err.Error()
	}
	out["duration"] = a.o.Now().Sub(began).Milliseconds()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// call is one request at work.
type call struct {
	request
	requestID string
	bus       *rstreams.Bus
}

// parse reads a request, which may be wrapped in a body.
func parse(text json.RawMessage) (*request, error) {
	var wrapped struct {
		Body json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(text, &wrapped); err != nil {
		return nil, fmt.Errorf("%w: want a JSON object, got %.60s", errRequest, text)
	}
	if body := wrapped.Body; len(body) > 0 && string(body) != "null" {
		text = body
		var s string
		if json.Unmarshal(body, &s) == nil {
			text = json.RawMessage(s)
		}
	}
	r := &request{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%w: %s", errRequest, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return r, nil
}

// options reads the request's options into v.
func (r *request) options(v any) error {
	if len(r.Options) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Options, v); err != nil {
		return fmt.Errorf("%w: options: %w", errRequest, err)
	}
	return nil
}
