package cli

import (
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store"
)

func TestAnArchivedBotIsNotSaidToRun(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	l, err := local.Open(ctx, dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	bots := l.Store().Bots
	for _, id := range []string{"gone", "there"} {
		if err := bots.Register(ctx, store.Registration{ID: id, Invocation: store.Invocation{Type: "local"}, Paused: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := bots.Control(ctx, "gone", store.Control{Archived: new(true)}); err != nil {
		t.Fatal(err)
	}
	before, err := bots.Get(ctx, "gone")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"resume", "gone", "there"}, {"run", "gone"}, {"run", "gone", "--force"}, {"run", "gone", "--wait", "1m"}} {
		code, _, errs := runOn("embedded:"+dir, nil, args...)
		if code != codeFailure || !strings.Contains(errs, "bot gone is archived") || strings.Contains(errs, "resumed gone") {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
	after, err := bots.Get(ctx, "gone")
	if err != nil || !after.Paused || after.Trigger != before.Trigger {
		t.Errorf("the bot was changed: %+v, %v", after, err)
	}
	if there, err := bots.Get(ctx, "there"); err != nil || there.Paused {
		t.Errorf("the other bot was not resumed: %v", err)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
