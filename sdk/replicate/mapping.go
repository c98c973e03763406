package replicate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Route is one queue that is copied to a queue of another bus.
type Route struct {
	// Source is the queue on this bus, Destination the one it is copied to.
	Source, Destination string
	// Account is the AWS account of the other bus, Stack the name of its stack, and Region where it is, "" for where this bus is.
	Account, Stack, Region string
	// Role is the ARN of the other bus's bot role (its stack's output Role), which the copier assumes.
	Role string
}

// ErrMapping reports a mapping that cannot be used. Callers should show the text: it names both parameters and what is missing.
var ErrMapping = errors.New("invalid replication mapping")

// The parameters of a bus's stack that Routes reads (bus.md 4.1).
const (
	ParameterRoles   = "QueueReplicationDestinationLeoBotRoleARNs"
	ParameterMapping = "QueueReplicationMapping"
)

// botRole is the ARN of the bot role of a bus: the name of its stack is in it.
var botRole = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):role/(?:.*/)?([A-Za-z][A-Za-z0-9-]*)-LeoBotRole[A-Za-z0-9-]*$`)

// Routes reads the two parameters. mapping is a JSON array, or its text, whose entries are queues to copy under their own name to
// the bus of the first role, or objects {QUEUE: DESTINATION} or {QUEUE: {destination, account, stack, region}} whose members have
// these defaults too. Every entry must have a role, and every role an entry: otherwise one of the parameters was forgotten. Of
// several roles of one bus the first counts. Blank roles are passed over; no roles and no mapping are no routes.
func Routes(roles []string, mapping []byte) ([]Route, error) {
	buses, err := parseRoles(roles)
	if err != nil {
		return nil, err
	}
	entries, err := parseMapping(mapping)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 && len(buses) == 0 {
		return nil, fmt.Errorf("%w: %s has %d queues and %s no role: give the bot role of each bus to copy to",
			ErrMapping, ParameterMapping, len(entries), ParameterRoles)
	}
	used := map[string]bool{}
	seen := map[string]bool{}
	for i := range entries {
		r := &entries[i]
		r.Account, r.Stack = or(r.Account, buses[0].Account), or(r.Stack, buses[0].Stack)
		at := slices.IndexFunc(buses, func(b Route) bool { return b.Account == r.Account && b.Stack == r.Stack })
		if at < 0 {
			return nil, fmt.Errorf("%w: %s copies %s to stack %s of account %s, and %s has no role of it",
				ErrMapping, ParameterMapping, r.Source, r.Stack, r.Account, ParameterRoles)
		}
		r.Role = buses[at].Role
		used[r.Account+":"+r.Stack] = true
		if id := r.BotID(); seen[id] {
			return nil, fmt.Errorf("%w: %s copies %s to %s of stack %s of account %s twice",
				ErrMapping, ParameterMapping, r.Source, r.Destination, r.Stack, r.Account)
		} else {
			seen[id] = true
		}
	}
	for _, b := range buses {
		if !used[b.Account+":"+b.Stack] {
			return nil, fmt.Errorf("%w: %s has the role of stack %s of account %s, and %s copies nothing there",
				ErrMapping, ParameterRoles, b.Stack, b.Account, ParameterMapping)
		}
	}
	return entries, nil
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// parseRoles returns the buses of the roles, each once.
func parseRoles(roles []string) ([]Route, error) {
	var buses []Route
	for _, role := range roles {
		if role = strings.TrimSpace(role); role == "" {
			continue
		}
		m := botRole.FindStringSubmatch(role)
		if m == nil {
			return nil, fmt.Errorf("%w: %s has %.120q, want ARNs such as arn:aws:iam::123456789012:role/STACK-LeoBotRole…, the output Role of a bus",
				ErrMapping, ParameterRoles, role)
		}
		same := func(b Route) bool { return b.Account == m[1] && b.Stack == m[2] }
		if !slices.ContainsFunc(buses, same) {
			buses = append(buses, Route{Account: m[1], Stack: m[2], Role: role})
		}
	}
	return buses, nil
}

// parseMapping returns the routes as they are given, with the destination filled in.
func parseMapping(mapping []byte) ([]Route, error) {
	var text string
	if json.Unmarshal(mapping, &text) == nil {
		mapping = []byte(text)
	}
	if len(strings.TrimSpace(string(mapping))) == 0 {
		return nil, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(mapping, &list); err != nil {
		return nil, fmt.Errorf(`%w: %s is no JSON array such as ["orders", {"payments": {"destination": "payments-copy"}}]: %.60q`,
			ErrMapping, ParameterMapping, mapping)
	}
	var routes []Route
	for i, entry := range list {
		var queue string
		if json.Unmarshal(entry, &queue) == nil {
			routes = append(routes, Route{Source: queue})
			continue
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(entry, &object); err != nil || len(object) == 0 {
			return nil, fmt.Errorf("%w: entry %d of %s is neither a queue nor {QUEUE: {...}}: %.60s", ErrMapping, i+1, ParameterMapping, entry)
		}
		for _, queue := range slices.Sorted(maps.Keys(object)) {
			r := Route{Source: queue}
			if json.Unmarshal(object[queue], &r.Destination) != nil {
				var to struct{ Destination, Account, Stack, Region string }
				if err := json.Unmarshal(object[queue], &to); err != nil {
					return nil, fmt.Errorf("%w: entry %d of %s: %s: want a queue, or an object with destination, account, stack and region as text",
						ErrMapping, i+1, ParameterMapping, queue)
				}
				r.Destination, r.Account, r.Stack, r.Region = to.Destination, to.Account, to.Stack, to.Region
			}
			routes = append(routes, r)
		}
	}
	for i := range routes {
		r := &routes[i]
		r.Destination = or(r.Destination, r.Source)
		for _, queue := range []string{r.Source, r.Destination} {
			if err := ref.ValidateQueue(queue); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrMapping, ParameterMapping, err)
			}
		}
		r.Source, r.Destination = ref.Queue(r.Source), ref.Queue(r.Destination)
	}
	return routes, nil
}

// BotID returns the id of the bot that copies the route.
func (r Route) BotID() string {
	return "replicate-" + r.Source + "-to-" + r.Account + "-" + r.Stack + "-" + r.Destination
}

// Settings are what a copying bot finds in its settings. The first four are the original's (bus.md 3.12).
type Settings struct {
	// Source and Destination are queues, Stack is the other bus's stack, Role the ARN of its bot role.
	Source      string `json:"sourceQueue"`
	Destination string `json:"destinationQueue"`
	Stack       string `json:"destinationBusStack"`
	Role        string `json:"destinationLeoBotRoleArn"`
	// Region is where the other bus is, "" for where this bus is.
	Region string `json:"destinationRegion,omitempty"`
}

// Registration returns what a bus stores of the bot that copies the route, run by the given Lambda function.
func (r Route) Registration(function string) (store.Registration, error) {
	settings, err := json.Marshal(Settings{r.Source, r.Destination, r.Stack, r.Role, r.Region})
	if err != nil {
		return store.Registration{}, fmt.Errorf("%w: %w", ErrMapping, err)
	}
	return store.Registration{
		ID: r.BotID(), Name: r.BotID(), Owner: "leo",
		Description: "copies " + r.Source + " to " + r.Destination + " of " + r.Stack,
		Invocation:  store.Invocation{Type: "lambda", Lambda: function},
		Settings:    settings, Triggers: []string{r.Source},
	}, nil
}
