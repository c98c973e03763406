package busapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// defaultSize is how many bytes of events a read returns when it does not say.
const defaultSize = 1 << 20

// read returns events after options.start, or the bot's checkpoint. options.limit bounds their number; the answer ends with the
// event that brings it to options.size bytes, or before the one that an answer has no room for, or that cannot be read: a read from
// the answer's position says why. It checkpoints nothing.
func (a *API) read(ctx context.Context, c *call) (map[string]any, error) {
	var o struct {
		Start string `json:"start"`
		Limit int64  `json:"limit"`
		Size  int    `json:"size"`
	}
	if err := c.options(&o); err != nil {
		return nil, err
	}
	if o.Size <= 0 {
		o.Size = defaultSize
	}
	r, err := c.bus.NewReader(c.Queue, rstreams.ReadOptions{Start: o.Start, Limit: o.Limit})
	if err != nil {
		return nil, err
	}
	events := []json.RawMessage{}
	position, size := "", 0
	for e, err := range r.All(ctx) {
		var text json.RawMessage
		if err == nil {
			if text, err = encode(&e); err != nil {
				err = fmt.Errorf("event %s: %w", e.EID, err)
			}
		}
		if err != nil && len(events) > 0 {
			a.o.Logger.WarnContext(ctx, "an answer ends before a fault", "bot", c.ID, "queue", c.Queue, "position", position, "error", err)
			break
		}
		if err != nil {
			return nil, err
		}
		if size+len(text) > a.o.MaxAnswer {
			if len(events) == 0 {
				return nil, fmt.Errorf("event %s has %d bytes, an answer holds %d; read it with an SDK", e.EID, len(text), a.o.MaxAnswer)
			}
			break
		}
		events = append(events, text)
		position, size = e.EID, size+len(text)+1
		if size >= o.Size {
			break
		}
	}
	return map[string]any{"events": events, "count": len(events), "queue": c.Queue, "position": position}, nil
}

// encode returns the whole event with its id.
func encode(e *rstreams.Event) (json.RawMessage, error) {
	id, err := json.Marshal(e.EID)
	if err != nil {
		return nil, err
	}
	line, err := event.AppendLine(append(append([]byte(`{"eid":`), id...), ','), e, -1)
	if err != nil {
		return nil, err
	}
	// The line begins with a brace of its own.
	at := len(`{"eid":`) + len(id) + 1
	line = append(line[:at], line[at+1:]...)
	return bytes.TrimSuffix(line, []byte("\n")), nil
}

// write stores events: objects with a payload are whole events, everything else is a payload (sdk.md 4.1). What they say they were
// derived from becomes the bot's checkpoint there once all are durable, unless options.autoCheckpoint is false.
func (a *API) write(ctx context.Context, c *call) (map[string]any, error) {
	o := struct {
		AutoCheckpoint bool `json:"autoCheckpoint"`
		Force          bool `json:"force"`
	}{AutoCheckpoint: true}
	if err := c.options(&o); err != nil {
		return nil, err
	}
	var list []json.RawMessage
	switch text := bytes.TrimSpace(c.Events); {
	case len(text) == 0 || string(text) == "null":
		return nil, fmt.Errorf("%w: it has no events", errRequest)
	case text[0] == '[':
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("%w: events: %w", errRequest, err)
		}
	default:
		list = []json.RawMessage{json.RawMessage(text)}
	}
	events, err := c.envelopes(list)
	if err != nil {
		return nil, err
	}
	w, err := c.bus.NewWriter(rstreams.WriterOptions{Queue: c.Queue})
	if err != nil {
		return nil, err
	}
	for i := range events {
		if _, err = w.PutEvent(ctx, events[i]); err != nil {
			err = fmt.Errorf("event %d: %w", i+1, err)
			break
		}
	}
	if cerr := w.Close(ctx); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("some of the events may have been written: %w", err)
	}
	out := map[string]any{"count": len(events), "queue": c.Queue}
	if !o.AutoCheckpoint {
		return out, nil
	}
	return out, a.derived(ctx, c, events, o.Force)
}

// envelopes makes events of what came, all before any is written.
func (c *call) envelopes(list []json.RawMessage) ([]rstreams.Event, error) {
	events := make([]rstreams.Event, len(list))
	for i, text := range list {
		// Members of a map are matched exactly, those of a struct are not. What is no object has neither.
		var whole map[string]json.RawMessage
		if json.Unmarshal(text, &whole) != nil || !truthy(whole["payload"]) && !truthy(whole["correlation_id"]) {
			events[i] = rstreams.Event{Payload: text}
		} else {
			e, err := event.Parse(text)
			if err != nil {
				return nil, fmt.Errorf("%w: event %d: %w", errRequest, i+1, err)
			}
			events[i] = e
		}
		if events[i].Queue == "" && c.Queue == "" {
			return nil, fmt.Errorf("%w: event %d: neither it nor the request names a queue", errRequest, i+1)
		}
		if !truthy(events[i].Payload) {
			return nil, fmt.Errorf("%w: event %d: %w", errRequest, i+1, event.ErrFalsyPayload)
		}
	}
	return events, nil
}

// truthy tells whether JavaScript takes a value for true.
func truthy(v json.RawMessage) bool {
	switch string(bytes.TrimSpace(v)) {
	case "", "null", "false", "0", `""`:
		return false
	}
	return true
}

// derived checkpoints the bot on what the events say they were derived from. More will come of what a partial one was derived from:
// the final one moves the checkpoint (C8).
func (a *API) derived(ctx context.Context, c *call, events []rstreams.Event, force bool) error {
	sources := map[string]*checkpoint{}
	for _, e := range events {
		k := e.Correlation
		if k == nil || k.Partial || k.Source == "" || k.Start == "" && k.End == "" {
			continue
		}
		p := sources[ref.QueueRef(k.Source)]
		if p == nil {
			p = &checkpoint{SourceTimestamp: e.SourceTimestamp, Force: force}
			sources[ref.QueueRef(k.Source)] = p
		}
		p.EID = max(p.EID, k.Start, k.End)
		p.Units += max(k.Units, 1)
		if e.SourceTimestamp != 0 && e.SourceTimestamp < p.SourceTimestamp {
			p.SourceTimestamp = e.SourceTimestamp
		}
	}
	var errs []error
	for source, p := range sources {
		if _, err := a.move(ctx, c, source, p); err != nil {
			errs = append(errs, fmt.Errorf("the events are written, but: %w", err))
		}
	}
	return errors.Join(errs...)
}

// checkpoint is where a bot is on a queue.
type checkpoint struct {
	Queue string `json:"queue"`
	EID   string `json:"eid"`
	// Event is an event whose id and source time are meant.
	Event *struct {
		EID             string `json:"eid"`
		SourceTimestamp int64  `json:"event_source_timestamp"`
		Source          int64  `json:"source_timestamp"`
	} `json:"event"`
	SourceTimestamp  int64 `json:"source_timestamp"`
	StartedTimestamp int64 `json:"started_timestamp"`
	EndedTimestamp   int64 `json:"ended_timestamp"`
	Units            int64 `json:"units"`
	Records          int64 `json:"records"`
	// Expected is the position that must be stored, absent for whatever is stored now.
	Expected *string `json:"expected"`
	// Force drops the condition.
	Force bool `json:"force"`
	// Kind is "read", the default, or "write".
	Kind string `json:"checkpointType"`
}

// checkpoint moves the bot's checkpoint on a queue.
func (a *API) checkpoint(ctx context.Context, c *call) (map[string]any, error) {
	id, err := a.move(ctx, c, c.request.Queue, &c.request.checkpoint)
	if err != nil {
		return nil, err
	}
	return map[string]any{"eid": id}, nil
}

// move stores a checkpoint and returns its position. Without force it is conditional: on expected or, where that is not given, on
// the position not having moved meanwhile, and it does not move backwards (W-O5).
func (a *API) move(ctx context.Context, c *call, queue string, p *checkpoint) (string, error) {
	value := store.Checkpoint{
		Position: p.EID, SourceTimestamp: p.SourceTimestamp, StartedTimestamp: p.StartedTimestamp, EndedTimestamp: p.EndedTimestamp,
		Records: max(p.Units, p.Records),
	}
	if e := p.Event; e != nil {
		if value.Position == "" {
			value.Position = e.EID
		}
		if value.SourceTimestamp == 0 {
			value.SourceTimestamp = max(e.SourceTimestamp, e.Source)
		}
	}
	if value.Position == "" {
		return "", fmt.Errorf("%w: the checkpoint has no position (eid, or event.eid)", errRequest)
	}
	switch p.Kind {
	case "", "read":
	case "write":
		if err := a.written(ctx, queue, value.Position); err != nil {
			return "", err
		}
		return value.Position, a.store.Bots.Produced(ctx, []store.Produced{{Bot: c.ID, Ref: ref.QueueRef(queue), Checkpoint: value}})
	default:
		return "", fmt.Errorf("%w: checkpointType is %.40q, want read or write", errRequest, p.Kind)
	}
	req := rstreams.CheckpointRequest{Queue: queue, Checkpoint: value, Force: p.Force}
	switch {
	case p.Force:
	case p.Expected != nil:
		req.Expected, req.Backwards = *p.Expected, true
	default:
		now, err := c.bus.GetCheckpoint(ctx, "", queue)
		if err != nil {
			return "", err
		}
		req.Expected = now.Position
	}
	return value.Position, c.bus.Checkpoint(ctx, req)
}

// written returns why a position cannot be of an event that a bot wrote to a queue, or nil. Write checkpoints only grow: one that is
// no id, or is ahead of the queue, would hide the bot's own for ever.
func (a *API) written(ctx context.Context, queue, position string) error {
	if err := ref.ValidateQueue(queue); err != nil {
		return err
	}
	if err := eid.ValidatePosition(position); err != nil {
		return fmt.Errorf("%w: eid: %w", errRequest, err)
	}
	row, err := a.store.Queues.Get(ctx, ref.Queue(queue))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("head of %s: %w", queue, err)
	}
	if position > row.Head {
		return fmt.Errorf("%w: eid %s is after the last event of %s, which is %q", errRequest, position, queue, row.Head)
	}
	return nil
}
