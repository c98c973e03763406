package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// settings are the settings of a bot's declaration.
type settings struct{ members }

// settings reads them from settings, or from lambda.settings[0], where the row has them.
func (m members) settings(r *reader) settings {
	v, ok := m["settings"]
	if l, has := m["lambda"]; !ok && has {
		var lambda struct {
			Settings []json.RawMessage `json:"settings"`
		}
		if err := json.Unmarshal(l, &lambda); err != nil {
			r.note(fmt.Errorf("lambda must be an object with settings, not %.60s", l))
		}
		if len(lambda.Settings) > 0 {
			v, ok = lambda.Settings[0], true
		}
	}
	if !ok {
		return settings{}
	}
	o, err := object(v)
	if err != nil {
		r.note(fmt.Errorf("settings: %w", err))
	}
	return settings{o}
}

// apply puts the settings into b, and what follows from them: a source is a trigger, unless it is read at a time of its own, and
// a destination is written (sdk.md 6.4 createBot).
func (s settings) apply(b *store.Registration) error {
	if s.members == nil {
		return nil
	}
	// The numbers that serverless-leo gives. Other settings stay what they are.
	for _, name := range []string{"botNumber", "botCount"} {
		if text, err := s.text(name); err == nil {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				s.members[name] = strconv.AppendInt(nil, n, 10)
			}
		}
	}
	var err error
	if b.Settings, err = json.Marshal(s.members); err != nil {
		return err
	}
	// A source or destination may be an object that names a system or queue; those of other shapes are the bot's own business.
	if source := s.trigger(); source != "" {
		b.Triggers = withRef(b.Triggers, source)
	}
	if destination, err := s.text("destination"); err == nil && destination != "" {
		b.Writes = withRef(b.Writes, destination)
	}
	return nil
}

// trigger returns the source that wakes the bot, "" for none.
func (s settings) trigger() string {
	source, err := s.text("source")
	if _, timed := s.members["time"]; err != nil || timed {
		return ""
	}
	return source
}

// withRef returns refs with the reference of name, once.
func withRef(refs []string, name string) []string {
	if slices.ContainsFunc(refs, func(r string) bool { return ref.QueueRef(r) == ref.QueueRef(name) }) {
		return refs
	}
	return append(slices.Clone(refs), ref.QueueRef(name))
}

// system reads the declaration of a system.
func (m members) system(id string) (store.System, error) {
	delete(m, "LeoRegisterType")
	delete(m, "id")
	doc, err := json.Marshal(m)
	return store.System{ID: id, Doc: doc}, err
}
