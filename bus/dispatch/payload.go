package dispatch

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// MaxPayload is the most bytes a payload may have: what Lambda takes for an asynchronous invocation (W-P5).
const MaxPayload = 256 << 10

// cron is the `__cron` member of an invocation payload (sdk.md 6.1). There is no `time`: bots refuse runs whose time is two
// seconds old, and an asynchronous invocation may well be (C49).
type cron struct {
	ID          string      `json:"id"`
	IID         string      `json:"iid"`
	TS          int64       `json:"ts"`
	BotName     string      `json:"botName"`
	Checkpoints checkpoints `json:"checkpoints"`
	Instances   struct{}    `json:"instances"`
}

type checkpoints struct {
	Read  map[string]any `json:"read"`
	Write map[string]any `json:"write"`
}

// Payload returns what bot is invoked with for the run with this token: its settings as the top level, botId, id, name,
// lock and __cron (C48). It is the part of the original payload that bots use; the original carried the whole row, which
// grows past MaxPayload (W-P5). Write checkpoints, and then read checkpoints of queues that are no triggers, are left out
// when they do not fit. The error wraps store.ErrInvalid for settings that are no object and store.ErrTooLarge for settings
// that do not fit.
func Payload(bot store.Bot, token int64) ([]byte, error) {
	var settings []byte
	if s := bytes.TrimSpace(bot.Settings); len(s) > 0 && !bytes.Equal(s, []byte("null")) {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(s, &members); err != nil {
			return nil, fmt.Errorf("%w: settings of bot %s are not a JSON object; register it again with an object: %w",
				store.ErrInvalid, bot.ID, err)
		}
		for _, own := range []string{"id", "name", "botId", "lock", "__cron"} {
			delete(members, own)
		}
		var err error
		if settings, err = marshal(members); err != nil {
			return nil, fmt.Errorf("settings of bot %s: %w", bot.ID, err)
		}
	}
	triggers := map[string]bool{}
	for _, t := range bot.Triggers {
		triggers[ref.QueueRef(t)] = true
	}
	for _, keep := range []struct {
		read  func(ref string) bool
		write bool
	}{
		{func(string) bool { return true }, true},
		{func(string) bool { return true }, false},
		{func(ref string) bool { return triggers[ref] }, false},
	} {
		c := cron{ID: bot.ID, IID: "0", TS: token, BotName: bot.Name}
		c.Checkpoints.Read = places(bot.Read, keep.read)
		c.Checkpoints.Write = places(bot.Write, func(string) bool { return keep.write })
		own, err := marshal(struct {
			ID    string `json:"id"`
			Name  string `json:"name,omitempty"`
			BotID string `json:"botId"`
			Lock  bool   `json:"lock"`
			Cron  cron   `json:"__cron"`
		}{bot.ID, bot.Name, bot.ID, true, c})
		if err != nil {
			return nil, fmt.Errorf("payload of bot %s: %w", bot.ID, err)
		}
		if len(settings) > len("{}") {
			own = append(append(bytes.Clone(settings[:len(settings)-1]), ','), own[1:]...)
		}
		if len(own) <= MaxPayload {
			return own, nil
		}
	}
	return nil, fmt.Errorf("%w: the settings of bot %s make an invocation larger than %d bytes; move them to a file or queue",
		store.ErrTooLarge, bot.ID, MaxPayload)
}

// places returns checkpoints in their wire form: a placeholder is an empty object (bus.md 1.4.2).
func places(in map[string]store.Checkpoint, keep func(ref string) bool) map[string]any {
	out := make(map[string]any, len(in))
	for ref, c := range in {
		if !keep(ref) {
			continue
		}
		if c.Position == "" {
			out[ref] = struct{}{}
		} else {
			out[ref] = c
		}
	}
	return out
}

// marshal is json.Marshal without escaping <, > and &: settings reach the bot as they were registered.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// RunError is what a failed run leaves in its instance's log (sdk.md fault 46).
type RunError struct {
	// Message is the error's text. Stack is where a panic came from, "" for other errors.
	Message string `json:"msg"`
	Stack   string `json:"stack,omitempty"`
}

// EncodeLog returns the form in which instances hold their log and result: gzip of v's JSON (bus.md 1.4.3). The log of a run
// without error is EncodeLog("").
func EncodeLog(v any) ([]byte, error) {
	text, err := marshal(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
