package sqlite

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

// fileOfVersion1 makes a bus as the first version of the schema left it.
func fileOfVersion1(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, fileName)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(schema + fmt.Sprintf(`
insert into meta values('id', 'abcdefgh');
insert into bots(id, name, settings, triggers, error_count) values('b', 'old bot', '{"a":1}', '["queue:q"]', 3);
insert into positions(bot, kind, ref, position, records) values('b', %d, 'queue:q', 'z/1', 7);
insert into settings values('s', '"value"');
pragma application_id=%d; pragma user_version=1`, readPosition, applicationID))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFileOfAnOlderVersionIsBroughtUpToThisOne(t *testing.T) {
	dir := t.TempDir()
	fileOfVersion1(t, dir)
	var wg sync.WaitGroup
	for range 4 { // Programs that are started together open it at once.
		wg.Go(func() {
			db, err := Open(t.Context(), dir, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := mustOpen(t, dir, Options{}).Store()
	b, err := s.Bots.Get(t.Context(), "b")
	if err != nil || b.Name != "old bot" || string(b.Settings) != `{"a":1}` || b.ErrorCount != 3 || b.Triggers[0] != "queue:q" ||
		b.Read["queue:q"].Position != "z/1" || b.Read["queue:q"].Records != 7 || b.Extra != nil {
		t.Errorf("%+v, %v", b, err)
	}
	if v, err := s.Settings.Get(t.Context(), "s"); err != nil || string(v) != `"value"` {
		t.Errorf("%s, %v", v, err)
	}
	if err := s.Bots.Register(t.Context(), store.Registration{ID: "b", Extra: map[string]json.RawMessage{"x": []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	if b, err = s.Bots.Get(t.Context(), "b"); err != nil || string(b.Extra["x"]) != "1" || b.ErrorCount != 3 {
		t.Errorf("%+v, %v", b, err)
	}
	if err := s.Systems.Merge(t.Context(), store.System{ID: "s", Doc: []byte(`{"a":1}`)}); err != nil {
		t.Error(err)
	}
}
