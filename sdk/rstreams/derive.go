package rstreams

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/event"
)

// derive makes the events that are to be written because of others: what the handler returned, then the letters of those that it gave
// up on. earliest is the earliest source time of events, in ms. All are checked: one that the writer refuses has to be met before the
// others are written, since they are written again with every retry.
func (p *pipeline) derive(
	s *source, events []Event, earliest int64, outputs []Output, dead *DeadLetterError, cause error, attempts int,
) (derived []Event, letters int, err error) {
	if len(outputs) > 0 {
		correlation, err := event.Correlate(events...)
		if err != nil {
			return nil, 0, err
		}
		derived = make([]Event, 0, len(outputs))
		for i := range outputs {
			if derived, err = p.add(derived, &outputs[i], correlation, earliest); err != nil {
				return nil, 0, err
			}
		}
	}
	if dead != nil {
		for i := range events {
			if dead.Indexes != nil && !slices.Contains(dead.Indexes, i) {
				continue
			}
			correlation, err := event.Correlate(events[i])
			if err != nil {
				return nil, 0, err
			}
			letter := Output{Queue: deadletter.Queue, Payload: p.letter(s, &events[i], cause, attempts)}
			if derived, err = p.add(derived, &letter, correlation, events[i].SourceTimestamp); err != nil {
				return nil, 0, err
			}
			letters++
		}
	}
	if len(derived) == 1 {
		return derived, letters, nil // The writer checks it itself.
	}
	for i := range derived {
		if err := p.w.check(&derived[i]); err != nil {
			return nil, 0, err
		}
	}
	return derived, letters, nil
}

// add appends a derived event.
func (p *pipeline) add(derived []Event, o *Output, c *Correlation, source int64) ([]Event, error) {
	enc := encoders.get()
	defer encoders.put(enc)
	payload, err := enc.encode(o.Payload)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if o.SourceTimestamp != 0 {
		source = o.SourceTimestamp
	}
	return append(derived, Event{
		Queue: o.Queue, Payload: append(json.RawMessage(nil), payload...), SourceTimestamp: source, Units: o.Units, Extra: o.Extra,
		Correlation: c,
	}), nil
}

// letter returns what the dead-letter queue gets of an event that the handler gave up on.
func (p *pipeline) letter(s *source, e *Event, cause error, attempts int) deadletter.Letter {
	line, err := event.AppendLine(nil, e, -1)
	if err != nil {
		line = e.Payload
	}
	l := deadletter.Letter{
		Reason: deadletter.ReasonHandler, Error: cause.Error(), Queue: s.reader.queue, Bot: p.o.Bot,
		EID: e.EID, Attempts: attempts, At: p.bus.millis(), Bare: err != nil,
	}
	l.SetRaw(slices.Clip(trimNewline(line)))
	return l
}

func trimNewline(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		return b[:n-1]
	}
	return b
}
