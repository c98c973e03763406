package replicate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/sdk/replicate"
)

const (
	near = "arn:aws:iam::111111111111:role/near-bus-LeoBotRole-ABC"
	far  = "arn:aws:iam::222222222222:role/team/far-LeoBotRole-DEF"
)

func TestRoutesOfAMapping(t *testing.T) {
	got, err := replicate.Routes([]string{near, "", far, "arn:aws:iam::111111111111:role/near-bus-LeoBotRole-2"}, []byte(
		`["orders", {"queue:pay": "pay-copy"}, {"s_x": {"destination": "y", "account": "222222222222", "stack": "far", "region": "eu-west-1"}}]`))
	if err != nil {
		t.Fatal(err)
	}
	want := []replicate.Route{
		{Source: "orders", Destination: "orders", Account: "111111111111", Stack: "near-bus", Role: near},
		{Source: "pay", Destination: "pay-copy", Account: "111111111111", Stack: "near-bus", Role: near},
		{Source: "x", Destination: "y", Account: "222222222222", Stack: "far", Region: "eu-west-1", Role: far},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := got[2].BotID(); got != "replicate-x-to-222222222222-far-y" {
		t.Error(got)
	}
	r, err := want[1].Registration("copier")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(`{"sourceQueue":"pay","destinationQueue":"pay-copy","destinationBusStack":"near-bus","destinationLeoBotRoleArn":"`+near+`"}`,
		string(r.Settings)); d != "" {
		t.Error(d)
	}
}

func TestNoRolesAndNoMappingAreNoRoutes(t *testing.T) {
	for _, mapping := range []string{"", "[]", `"[]"`, " "} {
		if got, err := replicate.Routes([]string{""}, []byte(mapping)); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", mapping, got, err)
		}
	}
}

func TestEveryEntryNeedsARoleAndEveryRoleAnEntry(t *testing.T) {
	for _, c := range []struct {
		roles   []string
		mapping string
		want    string
	}{
		{nil, `["q"]`, "QueueReplicationMapping has 1 queues and QueueReplicationDestinationLeoBotRoleARNs no role"},
		{[]string{near}, `[]`, "has the role of stack near-bus of account 111111111111, and QueueReplicationMapping copies nothing there"},
		{[]string{near, far}, `["q"]`, "has the role of stack far"},
		{[]string{near}, `[{"q": {"stack": "far"}}]`, "copies q to stack far of account 111111111111"},
		{[]string{near}, `["q", {"q": {}}]`, "twice"},
		{[]string{"arn:aws:iam::111111111111:role/other"}, `["q"]`, "want ARNs such as"},
		{[]string{near}, `{"q": {}}`, "no JSON array"},
		{[]string{near}, `[5]`, "entry 1"},
		{[]string{near}, `[{"q": 5}]`, "entry 1"},
		{[]string{near}, `[""]`, "queue name"},
	} {
		_, err := replicate.Routes(c.roles, []byte(c.mapping))
		if !errors.Is(err, replicate.ErrMapping) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v %s: %v", c.roles, c.mapping, err)
		}
	}
}
