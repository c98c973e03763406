package archive_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/archive"
)

// TestEveryQueueIsArchivedHoweverManyThereAre is W-D10 and W-P13: the original looks at the first megabyte of the table only.
func TestEveryQueueIsArchivedHoweverManyThereAre(t *testing.T) {
	const queues = 1100 // more than two pages of a listing
	w := newWorld(t)
	text := ""
	for n := range queues {
		text += fmt.Sprintf(`{"id":"b","event":"queue-%04d","payload":{"n":%d}}`+"\n", n, n)
	}
	w.put(text)
	w.now = w.now.Add(2 * time.Hour)
	res, err := archive.New(w.store, w.config("a")).Run(t.Context())
	if err != nil || res.Queues != queues || res.Events != queues || res.Behind != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	for _, n := range []int{0, 499, 500, 999, 1000, queues - 1} {
		if got := w.archived(fmt.Sprintf("queue-%04d", n)); len(got) != 1 || got[0].n != n {
			t.Errorf("queue %d: %v", n, got)
		}
	}
}
