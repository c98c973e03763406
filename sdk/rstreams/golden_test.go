package rstreams_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// golden is what leo-sdk 6.0.18 read from the rows that the original processor stored.
type golden struct {
	Chunks []struct {
		Event, Start, End       string
		Records, Size, GzipSize int64
		Gzip                    []byte
		S3                      *store.BlobRef
		Offsets                 json.RawMessage
		Archive                 bool
		Snapshot                int64
	}
	Queues map[string]struct {
		MaxEID   string `json:"max_eid"`
		Archive  struct{ End string }
		Snapshot struct{ Start, Next string }
	}
	Objects map[string]string
	Cases   []struct {
		Queue, Bot string
		Options    struct {
			Start       *string
			MaxOverride string
			Limit       int64
		}
		EIDs    []string
		IDs     []int
		Events  []string
		Queries []struct{ Start, Max, Event string }
		Ranges  []string
	}
}

func loadGolden(t *testing.T) golden {
	t.Helper()
	f, err := os.Open("testdata/read.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.NewDecoder(z).Decode(&g); err != nil {
		t.Fatal(err)
	}
	return g
}

// goldenNow is the clock of the recording.
func goldenNow() time.Time { return time.UnixMilli(1704164650678) }

// store returns a store that holds the recorded rows and objects.
func (g *golden) store(t *testing.T) store.Store {
	t.Helper()
	ctx := context.Background()
	st := memory.New(memory.Options{Now: goldenNow})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	blobs := map[string]store.BlobRef{}
	for key, data := range g.Objects {
		raw, err := base64.StdEncoding.DecodeString(data)
		check(err)
		blobs[key], _, err = st.Blobs.Put(ctx, key, bytes.NewReader(raw))
		check(err)
	}
	for _, c := range g.Chunks {
		k := store.Chunk{
			Queue: c.Event, Start: c.Start, End: c.End, Records: c.Records, Size: c.Size, GzipSize: c.GzipSize, Gzip: c.Gzip,
			Archive: c.Archive, Snapshot: c.Snapshot,
		}
		if c.S3 != nil {
			ref := blobs[c.S3.Key]
			k.Blob = &ref
			var err error
			k.Offsets, err = chunk.UnmarshalOffsets(c.Offsets)
			check(err)
		}
		check(st.Chunks.Put(ctx, []store.Chunk{k}))
	}
	for name, q := range g.Queues {
		if q.MaxEID != "" {
			grant, err := st.Queues.Claim(ctx, store.Claim{Queue: name, Owner: "golden", Arrival: 1, Now: 1, Lease: 1})
			check(err)
			check(st.Queues.Advance(ctx, store.Advance{Queue: name, Fence: grant.Fence, Head: q.MaxEID, Now: 1}))
		}
		if q.Archive.End != "" {
			check(st.Queues.SetArchive(ctx, name, q.Archive.End))
		}
		if q.Snapshot.Start != "" {
			check(st.Queues.SetSnapshot(ctx, name, q.Snapshot.Start, q.Snapshot.Next))
		}
	}
	check(st.Bots.Checkpoint(ctx, store.CheckpointWrite{
		Bot: "reader-cp", Ref: "queue:q.n101",
		Checkpoint: store.Checkpoint{Position: "z/2024/01/02/03/04/1704164645678-0000060"},
	}))
	check(st.Bots.Checkpoint(ctx, store.CheckpointWrite{Bot: "reader-empty", Ref: "queue:q.n101", Force: true}))
	return st
}

// recorder notes what a read asks of the storage.
type recorder struct {
	mu      sync.Mutex
	queries []string // queue and start of the first query of each stored queue
	ranges  []string
}

type recordChunks struct {
	store.Chunks
	r *recorder
}

func (c recordChunks) Query(ctx context.Context, queue, after, through string, limit, size int) (store.Page, error) {
	c.r.mu.Lock()
	if n := len(c.r.queries); n == 0 || !strings.HasPrefix(c.r.queries[n-1], queue+" ") {
		c.r.queries = append(c.r.queries, queue+" "+strings.TrimSpace(after))
	}
	c.r.mu.Unlock()
	return c.Chunks.Query(ctx, queue, after, through, limit, size)
}

type recordBlobs struct {
	store.Blobs
	r *recorder
}

func (b recordBlobs) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	b.r.mu.Lock()
	// leo-sdk asks for one byte more than there is; S3 leaves it out.
	b.r.ranges = append(b.r.ranges, fmt.Sprintf("%s bytes=%d-%d", ref.Key, offset, offset+length))
	b.r.mu.Unlock()
	return b.Blobs.Get(ctx, ref, offset, length)
}

// TestReadsAreThoseOfLeoSDK reads what was recorded with every recorded option. Deliberate deviations: a start outside the
// alphabet of ids is an error (E3; one case), nothing is queried for a queue that does not exist (a "/_phantom" is queried by
// leo-sdk), and no query is made to find out that a bounded segment has ended.
func TestReadsAreThoseOfLeoSDK(t *testing.T) {
	g := loadGolden(t)
	base := g.store(t)
	if len(g.Cases) < 60 {
		t.Fatalf("only %d cases", len(g.Cases))
	}
	for _, c := range g.Cases {
		options, _ := json.Marshal(c.Options)
		t.Run(c.Queue+" "+c.Bot+" "+string(options), func(t *testing.T) {
			rec := &recorder{}
			st := base
			st.Chunks, st.Blobs = recordChunks{st.Chunks, rec}, recordBlobs{st.Blobs, rec}
			bus := rstreams.New(st, rstreams.Options{Now: goldenNow})
			o := rstreams.ReadOptions{Bot: c.Bot, End: c.Options.MaxOverride, EndByChunk: true, Limit: c.Options.Limit}
			if c.Options.Start != nil {
				o.Start = *c.Options.Start
			}
			r, err := bus.NewReader(c.Queue, o)
			if strings.HasSuffix(o.Start, "x") {
				if !errors.Is(err, eid.ErrInvalid) {
					t.Fatalf("a start outside the alphabet: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ids, values := []string{}, []int{}
			for e, err := range r.All(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Queue != c.Events[0] {
					t.Fatalf("event of queue %q, want %q", e.Queue, c.Events[0])
				}
				var p struct{ I int }
				if err := json.Unmarshal(e.Payload, &p); err != nil {
					t.Fatal(err)
				}
				ids, values = append(ids, e.EID), append(values, p.I)
			}
			if !slices.Equal(ids, c.EIDs) || !slices.Equal(values, c.IDs) {
				t.Fatalf("got %v %v\nwant %v %v", ids, values, c.EIDs, c.IDs)
			}
			slices.Sort(rec.ranges) // Objects are fetched at the same time.
			slices.Sort(c.Ranges)
			if !slices.Equal(rec.ranges, c.Ranges) {
				t.Errorf("ranges\n%v\nwant\n%v", rec.ranges, c.Ranges)
			}
			var want []string
			for _, q := range c.Queries {
				if n := len(want); n == 0 || !strings.HasPrefix(want[n-1], q.Event+" ") {
					want = append(want, q.Event+" "+strings.TrimSpace(q.Start))
				}
			}
			if !strings.HasSuffix(c.Queue, "_phantom") && !slices.Equal(rec.queries, want) {
				t.Errorf("queries %v\nwant %v", rec.queries, want)
			}
		})
	}
}
