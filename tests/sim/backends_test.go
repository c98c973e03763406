package sim

import (
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/sqlite"
)

// TestEveryBackendTellsTheSameStory runs seeds on the memory store and on SQLite. As all that a run does depends on the seed
// and on the store's answers, two stores that mean the same give the same trace, line by line.
func TestEveryBackendTellsTheSameStory(t *testing.T) {
	for seed := uint64(1); seed <= 16; seed++ {
		p := derive(seed)
		p.dispatchers, p.triggered = 0, 0 // SQLite's change feed asks the clock, which the memory store's need not.
		p.records = min(p.records, 5)
		dir := t.TempDir()
		file := func(w *world) (store.Store, func(), error) {
			db, err := sqlite.Open(w.ctx, dir, sqlite.Options{Now: w.now})
			if err != nil {
				return store.Store{}, nil, err
			}
			return db.Store(), func() {
				if err := db.Close(); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}, nil
		}
		a := simulate(t, seed, p, true)
		b := simulateOn(t, file, seed, p, true)
		if a.failure != nil || b.failure != nil {
			t.Fatalf("seed %d: memory %v, SQLite %v", seed, a.failure, b.failure)
		}
		sameTrace(t, seed, a.trace, b.trace)
	}
}
