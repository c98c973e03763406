package bot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// invocation is what a run begins with.
type invocation struct {
	bot Bot
	// id is the id of the bot's row: the declared one, or another under which the same code is registered.
	id       string
	token    int64
	settings json.RawMessage
	// event is the payload as it came, cron its member __cron, nil for an invocation that no bus made.
	event json.RawMessage
	cron  *cronEvent
}

// cronEvent is the member __cron of an invocation's payload (sdk.md 6.1), as far as it is used here.
type cronEvent struct {
	ID       string            `json:"id"`
	IID      number            `json:"iid"`
	ICount   number            `json:"icount"`
	TS       number            `json:"ts"`
	Time     number            `json:"time"`
	MaxEID   string            `json:"maxeid"`
	StartEID map[string]string `json:"starteid"`
	CPLoc    string            `json:"cploc"`
	// Until is when, in ms, the run ends of which this is an instance; our own.
	Until number `json:"until"`

	Force           truthy `json:"force"`
	IgnoreLock      truthy `json:"ignoreLock"`
	ForceComplete   truthy `json:"forceComplete"`
	PreventRunAgain truthy `json:"preventRunAgain"`
}

// number is an integer that some senders write as a string.
type number struct {
	value int64
	// text is how Node prints it.
	text string
}

// UnmarshalJSON takes a number, or a string with one.
func (n *number) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		*n = number{}
		return nil
	}
	text := strings.Trim(string(raw), `"`)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%s is no number", raw)
	}
	*n = number{value: int64(f), text: text}
	return nil
}

// String is how Node prints the number.
func (n number) String() string {
	if n.text == "" {
		return "undefined"
	}
	return n.text
}

// truthy is what JavaScript takes for true.
type truthy bool

// UnmarshalJSON takes any value.
func (f *truthy) UnmarshalJSON(raw []byte) error {
	switch text := string(bytes.TrimSpace(raw)); text {
	case "false", "null", "0", `""`:
		*f = false
	default:
		*f = true
	}
	return nil
}

// parse reads an invocation payload. choose picks the bot of an id, "" for none; the error is its own, or tells what is wrong
// with the payload.
func parse(payload []byte, choose func(id string) (Bot, error)) (invocation, error) {
	var members map[string]json.RawMessage
	inv := invocation{event: payload, settings: json.RawMessage("{}")}
	if err := json.Unmarshal(payload, &members); err != nil {
		if !json.Valid(payload) {
			return inv, fmt.Errorf("the payload is not JSON: %.200s", payload)
		}
		members = nil // An event that is no object has no settings.
	}
	var id string
	if raw := members["__cron"]; len(raw) > 0 && string(raw) != "null" {
		inv.cron = &cronEvent{}
		if err := json.Unmarshal(raw, inv.cron); err != nil {
			return inv, fmt.Errorf("the payload is no invocation by a bus: __cron: %w", err)
		}
		id, inv.token = inv.cron.ID, inv.cron.TS.value
	}
	if id == "" && len(members["botId"]) > 0 {
		if err := json.Unmarshal(members["botId"], &id); err != nil {
			return inv, fmt.Errorf("the payload's botId: %w", err)
		}
	}
	var err error
	if inv.bot, err = choose(id); err != nil {
		return inv, err
	}
	if inv.id = id; id == "" {
		inv.id = inv.bot.ID
	}
	if members == nil {
		return inv, nil
	}
	for _, own := range reserved {
		delete(members, own)
	}
	if inv.settings, err = json.Marshal(members); err != nil {
		return inv, fmt.Errorf("settings of bot %s: %w", inv.id, err)
	}
	return inv, nil
}
