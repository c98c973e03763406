package sqlite_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/sqlite"
	"github.com/rstreams-go/rstreams/bus/store/storetest"
)

func TestMain(m *testing.M) {
	storetest.ProcessMain(openProcess)
	goleak.VerifyTestMain(m)
}

func openProcess(ctx context.Context, dir string) (store.Store, func() error, error) {
	db, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		return store.Store{}, nil, err
	}
	return db.Store(), db.Close, nil
}

func TestTheEmbeddedStoreKeepsThePromisesOfThePorts(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir(), sqlite.Options{}).Store() })
}

func TestProcessesShareOneDirectory(t *testing.T) { storetest.RunProcesses(t, openProcess, 0) }

func open(t testing.TB, dir string, o sqlite.Options) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
