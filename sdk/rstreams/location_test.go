package rstreams_test

import (
	"context"
	"errors"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// located notes where checkpoints are to go.
type located struct {
	store.Bots
	got []store.CheckpointWrite
}

func (l *located) Checkpoint(ctx context.Context, w store.CheckpointWrite) error {
	l.got = append(l.got, w)
	return nil
}

// Row C9: an instance of the bus's own fan-out checkpoints where the bus looks.
func TestC9CheckpointsOfASessionWithALocationGoThere(t *testing.T) {
	st := memory.New(memory.Options{})
	bots := &located{Bots: st.Bots}
	watched := st
	watched.Bots = bots
	there := rstreams.Location{Attribute: "instances", Instance: "3"}
	request := rstreams.CheckpointRequest{Queue: "q", Checkpoint: rstreams.Checkpoint{Position: "z/2026/11/21/02/35/1795228500000-0000001"}}
	if err := rstreams.New(watched, rstreams.Options{}).Session(rstreams.Session{Bot: "b", Location: there}).Checkpoint(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if len(bots.got) != 1 || bots.got[0].Location != there || bots.got[0].Ref != "queue:q" || bots.got[0].Bot != "b" {
		t.Errorf("got %+v", bots.got)
	}
	err := rstreams.New(st, rstreams.Options{}).Session(rstreams.Session{Bot: "b", Location: there}).Checkpoint(t.Context(), request)
	if !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a backend without such places: %v", err)
	}
}
