package sqlite

import (
	"sync"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

func TestACommitOfThisProcessWakesWaitingCallsWithoutPolling(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	s := db.Store()
	_, cursor, err := s.Feed.Changes(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	db.feed.leader <- struct{}{} // nobody polls
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := s.Feed.Wait(t.Context(), cursor); err != nil {
				t.Error(err)
			}
		})
	}
	if err := s.Bots.Register(t.Context(), store.Registration{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestPollingSeesWhatAnotherProcessCommits(t *testing.T) {
	dir := t.TempDir()
	here, there := mustOpen(t, dir, Options{}), mustOpen(t, dir, Options{})
	_, cursor, err := here.Store().Feed.Changes(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 { // one polls, and wakes the others
		wg.Go(func() {
			if err := here.Store().Feed.Wait(t.Context(), cursor); err != nil {
				t.Error(err)
			}
		})
	}
	if err := there.Store().Bots.Register(t.Context(), store.Registration{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	changes, _, err := here.Store().Feed.Changes(t.Context(), cursor, 10)
	if err != nil || len(changes) != 1 || changes[0] != (store.Change{Kind: store.BotChanged, ID: "b"}) {
		t.Errorf("got %v, %v", changes, err)
	}
}

func TestACursorOfAnotherFileOrOfItsFutureIsTooOld(t *testing.T) {
	a, b := mustOpen(t, t.TempDir(), Options{}), mustOpen(t, t.TempDir(), Options{})
	_, other, err := b.Store().Feed.Changes(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, cursor := range []string{other, a.id + ":5", a.id + ":-1", a.id + ":", a.id} {
		_, _, err := a.Store().Feed.Changes(t.Context(), cursor, 1)
		clear(t, err, store.ErrNotFound, "cursor")
		if err := a.Store().Feed.Wait(t.Context(), cursor); err != nil {
			t.Error(err)
		}
	}
}
