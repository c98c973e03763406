package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

const now = int64(1_795_228_519_000)

func id(ms int64, counter int) string {
	i, err := eid.New(ms, counter)
	if err != nil {
		panic(err)
	}
	return i.String()
}

func claim(owner, shard, first string, at int64) store.Claim {
	return store.Claim{Queue: "q", Owner: owner, Shard: shard, First: first, Arrival: at, Now: at, Lease: 1000}
}

func mustClaim(t *testing.T, q store.Queue, c store.Claim) (store.Queue, store.Grant) {
	t.Helper()
	next, g, err := q.Claim(c)
	if err != nil {
		t.Fatal(err)
	}
	return next, g
}

func mustAdvance(t *testing.T, q store.Queue, a store.Advance) store.Queue {
	t.Helper()
	a.Queue = "q"
	next, err := q.Advance(a)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestAClaimSaysWhereTheLeftoversOfThoseBeforeItMayBe(t *testing.T) {
	many := func(n int) (paths []string) {
		for i := range n {
			paths = append(paths, fmt.Sprintf("z/2026/11/21/00/%02d/", i))
		}
		return paths
	}
	at := func(paths []string) store.Claim {
		c := claim("a", "s", "1", now)
		c.Paths = paths
		return c
	}
	for name, c := range map[string]struct{ claims, want [][]string }{
		"other paths add up":                {[][]string{{"b/"}, {"a/", "b/"}, {"c/"}}, [][]string{nil, {"b/"}, {"a/", "b/"}}},
		"anywhere has all others in it":     {[][]string{{"b/"}, nil, {"c/"}}, [][]string{nil, {"b/"}, nil}},
		"too many are anywhere":             {[][]string{many(60), {"y/"}, many(60), {"x/"}}, [][]string{nil, many(60), append([]string{"y/"}, many(60)...), append([]string{"y/"}, many(60)...)}},
		"too many at once are anywhere":     {[][]string{many(65), {"x/"}, {"x/"}}, [][]string{nil, nil, nil}},
		"too many together are anywhere":    {[][]string{many(60), {"a/", "b/", "c/", "d/", "e/"}, {"x/"}}, [][]string{nil, many(60), nil}},
		"queues whose ids grow have no use": {[][]string{nil, nil}, [][]string{nil, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			var q store.Queue
			for i, paths := range c.claims {
				var g store.Grant
				q, g = mustClaim(t, q, at(paths))
				want := slices.Clone(c.want[i])
				slices.Sort(want)
				if !slices.Equal(g.Paths, want) || g.Dirty != (i > 0) {
					t.Errorf("claim %d: paths %q, dirty %v, want %q", i, g.Paths, g.Dirty, want)
				}
			}
			// Who publishes, or gives back, has removed them.
			for _, head := range []string{id(now+9, 0), ""} {
				done := mustAdvance(t, q, store.Advance{Fence: q.Sequencing.Fence, Head: head})
				if _, g := mustClaim(t, done, at([]string{"n/"})); g.Paths != nil || g.Dirty {
					t.Errorf("after %q: %+v", head, g)
				}
			}
		})
	}
}

func TestTheFirstClaimGetsTheArrivalAsItsBase(t *testing.T) {
	q, g := mustClaim(t, store.Queue{}, claim("a", "s", "1", now))
	if d := cmp.Diff(store.Grant{Base: now, Fence: 1}, g); d != "" {
		t.Error(d)
	}
	want := store.Queue{Name: "q", Sequencing: store.Sequencing{
		Owner: "a", Lease: now + 1000, Fence: 1, Base: now, Open: true, Shard: "s", First: "1"}}
	if d := cmp.Diff(want, q); d != "" {
		t.Error(d)
	}
}

func TestABaseIsAfterTheHeadAndEveryEarlierBase(t *testing.T) {
	for name, c := range map[string]struct {
		q    store.Queue
		want int64
	}{
		"head in the future":   {store.Queue{Head: id(now+500, 7)}, now + 501},
		"head in the same ms":  {store.Queue{Head: id(now, 7)}, now + 1},
		"head in the past":     {store.Queue{Head: id(now-1, 7)}, now},
		"base never published": {store.Queue{Sequencing: store.Sequencing{Base: now + 9}}, now + 10},
		"base above the head":  {store.Queue{Head: id(now+3, 0), Sequencing: store.Sequencing{Base: now + 9}}, now + 10},
		"head above the base":  {store.Queue{Head: id(now+30, 0), Sequencing: store.Sequencing{Base: now + 9}}, now + 31},
		"clock that went back": {store.Queue{Head: id(now+60_000, 0), Sequencing: store.Sequencing{Base: now + 60_000}}, now + 60_001},
		"long idle":            {store.Queue{Head: id(now-1_000_000, 0), Sequencing: store.Sequencing{Base: now - 1_000_000}}, now},
		"other batch is unpublished": {store.Queue{Sequencing: store.Sequencing{
			Owner: "a", Open: true, Base: now, Shard: "s", First: "other", Lease: now + 1}}, now + 1},
	} {
		if _, g := mustClaim(t, c.q, claim("a", "s", "1", now)); g.Base != c.want {
			t.Errorf("%s: base %d, want %d", name, g.Base-now, c.want-now)
		}
	}
}

func TestOnlyTheRetryOfAnUnpublishedBatchGetsItsBaseAgain(t *testing.T) {
	q, first := mustClaim(t, store.Queue{}, claim("a", "s", "1", now))
	for name, c := range map[string]struct {
		claim store.Claim
		same  bool
	}{
		"same batch later":        {claim("a", "s", "1", now+500), true},
		"same batch, other owner": {claim("b", "s", "1", now+1000), true},
		"other first event":       {claim("a", "s", "2", now), false},
		"other shard":             {claim("a", "t", "1", now), false},
	} {
		_, g := mustClaim(t, q, c.claim)
		if (g.Base == first.Base) != c.same || g.Fence != 2 || !g.Dirty {
			t.Errorf("%s: got %+v after %+v", name, g, first)
		}
	}
	published := mustAdvance(t, q, store.Advance{Fence: first.Fence, Head: id(first.Base, 0)})
	if _, g := mustClaim(t, published, claim("a", "s", "1", now)); g.Base == first.Base || g.Dirty {
		t.Errorf("a batch that is published got %+v", g)
	}
	released := mustAdvance(t, q, store.Advance{Fence: first.Fence})
	if _, g := mustClaim(t, released, claim("a", "s", "1", now)); g.Base == first.Base {
		t.Errorf("a batch that was released got its base again: %+v", g)
	}
}

func TestAClaimIsHeldUntilItsLeaseEnds(t *testing.T) {
	q, g := mustClaim(t, store.Queue{}, claim("a", "s", "1", now))
	_, _, err := q.Claim(claim("b", "t", "1", now+999))
	leased, ok := errors.AsType[*store.LeasedError](err)
	if !ok || *leased != (store.LeasedError{Queue: "q", Owner: "a", Until: now + 1000}) || !errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v", err)
	}
	if _, g := mustClaim(t, q, claim("b", "t", "1", now+1000)); !g.Dirty {
		t.Error("a takeover is not told of leftovers")
	}
	if _, g := mustClaim(t, q, claim("a", "t", "1", now+1)); !g.Dirty {
		t.Error("the owner's next claim is not told of leftovers")
	}
	for _, head := range []string{"", id(now, 0)} {
		free := mustAdvance(t, q, store.Advance{Fence: g.Fence, Head: head})
		if _, g := mustClaim(t, free, claim("b", "t", "1", now+1)); g.Dirty {
			t.Errorf("a free queue with head %q is said to have leftovers", head)
		}
	}
}

func TestAHeadThatIsNoIDIsCorrupt(t *testing.T) {
	if _, _, err := (store.Queue{Head: "nonsense"}).Claim(claim("a", "s", "1", now)); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestAdvanceNeedsTheNewestFenceOfAnOpenClaim(t *testing.T) {
	q, old := mustClaim(t, store.Queue{}, claim("a", "s", "1", now))
	q, g := mustClaim(t, q, claim("a", "s", "1", now))
	for _, fence := range []int64{0, old.Fence, g.Fence + 1} {
		if _, err := q.Advance(store.Advance{Queue: "q", Fence: fence, Head: id(now, 0)}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("fence %d: got %v", fence, err)
		}
	}
	q = mustAdvance(t, q, store.Advance{Fence: g.Fence, Head: id(now, 0)})
	if _, err := q.Advance(store.Advance{Queue: "q", Fence: g.Fence, Head: id(now, 1)}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a second publication with one fence: %v", err)
	}
}

func TestAdvanceRecordsWhatIsPublished(t *testing.T) {
	q, g := mustClaim(t, store.Queue{Sequencing: store.Sequencing{Through: map[string]string{"t": "5"}}}, claim("a", "s", "1", now))
	before := q.Sequencing.Through
	q = mustAdvance(t, q, store.Advance{Fence: g.Fence, Head: id(now, 3), Shard: "s", Through: "4:2", Now: now + 7})
	want := store.Queue{Name: "q", Head: id(now, 3), Timestamp: now + 7, Sequencing: store.Sequencing{
		Owner: "a", Fence: 1, Base: now, Shard: "s", First: "1", Through: map[string]string{"s": "4:2", "t": "5"}}}
	if d := cmp.Diff(want, q); d != "" {
		t.Error(d)
	}
	if len(before) != 1 {
		t.Errorf("the row before was changed: %v", before)
	}
	if _, g := mustClaim(t, q, claim("a", "s", "5", now)); g.Through != "4:2" {
		t.Errorf("the next claim of the shard is told %q", g.Through)
	}
	if _, g := mustClaim(t, q, claim("a", "new", "5", now)); g.Through != "" {
		t.Errorf("a claim of a new shard is told %q", g.Through)
	}
}

func TestMarksOnlyGrowAndTheOldestAreDropped(t *testing.T) {
	var q store.Queue
	for i := range 300 {
		var g store.Grant
		q, g = mustClaim(t, q, claim("a", fmt.Sprint("s", i), "1", now))
		q = mustAdvance(t, q, store.Advance{Fence: g.Fence, Head: id(now, i), Shard: fmt.Sprint("s", i), Through: fmt.Sprint(1000 + i)})
	}
	if n := len(q.Sequencing.Through); n > 256 {
		t.Errorf("%d marks are kept", n)
	}
	if q.Sequencing.Through["s299"] != "1299" || q.Sequencing.Through["s0"] != "" {
		t.Error("not the oldest marks were dropped")
	}
	q, g := mustClaim(t, q, claim("a", "s299", "1", now))
	q = mustAdvance(t, q, store.Advance{Fence: g.Fence, Head: id(now, 999), Shard: "s299", Through: "7"})
	if got := q.Sequencing.Through["s299"]; got != "1299" {
		t.Errorf("a mark went back to %s", got)
	}
}

func TestHeadsOfSnapshotQueuesGoByTheirBase(t *testing.T) {
	older, newer := id(now, 5), id(now+1, 0)
	oldPath, newPath := "z/2026/01/01/00/00/", "z/2025/01/01/00/00/"
	a := oldPath + older[len(oldPath):]
	b := newPath + newer[len(newPath):] // a snapshot of an earlier minute, published later
	for _, c := range []struct {
		queue, a, b string
		want        bool
	}{
		{"q", a, b, true}, {"q", b, a, false}, {"q", a, a, false},
		{"q" + store.SnapshotSuffix, a, b, false}, {"q" + store.SnapshotSuffix, b, a, true},
		{"q" + store.SnapshotSuffix, a, a, false}, {"q" + store.SnapshotSuffix, a, "", true}, {"q" + store.SnapshotSuffix, "", a, false},
		{"q" + store.SnapshotSuffix, id(now, 6), id(now, 5), true},
	} {
		if got := store.LaterHead(c.queue, c.a, c.b); got != c.want {
			t.Errorf("LaterHead(%q, %q, %q) = %v", c.queue, c.a, c.b, got)
		}
	}
}

// Whatever claims, publications and releases follow each other, in whatever order clocks and retries bring them, heads,
// fences and bases only grow, and no base is granted to two batches.
func TestHeadsFencesAndBasesOnlyGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q store.Queue
		type batch struct{ shard, first string }
		granted := map[int64]batch{}
		fences := []int64{0}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := q
			switch rapid.IntRange(0, 1).Draw(t, "step") {
			case 0:
				b := batch{rapid.SampledFrom([]string{"s", "t"}).Draw(t, "shard"), rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "first")}
				at := now + rapid.Int64Range(-5000, 5000).Draw(t, "clock")
				next, g, err := q.Claim(claim(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "owner"), b.shard, b.first, at))
				if err != nil {
					if d := cmp.Diff(before, next); d != "" {
						t.Fatalf("a refused claim changed the row: %s", d)
					}
					continue
				}
				if other, ok := granted[g.Base]; ok && other != b {
					t.Fatalf("base %d was granted to %v and to %v", g.Base, other, b)
				}
				if q.Head != "" && id(g.Base, 0) <= q.Head {
					t.Fatalf("base %d is not after head %s", g.Base, q.Head)
				}
				granted[g.Base] = b
				q, fences = next, append(fences, g.Fence)
			case 1:
				fence := rapid.SampledFrom(fences).Draw(t, "fence")
				head := ""
				if rapid.Bool().Draw(t, "publish") {
					head = id(max(q.Sequencing.Base, now)+rapid.Int64Range(-3, 0).Draw(t, "lower"), 5)
				}
				next, err := q.Advance(store.Advance{Queue: "q", Fence: fence, Head: head, Now: now})
				if (err == nil) != (q.Sequencing.Open && fence == slices.Max(fences)) {
					t.Fatalf("advance with fence %d of %v, open %v: %v", fence, fences, q.Sequencing.Open, err)
				}
				q = next
			}
			if q.Head < before.Head || q.Sequencing.Fence < before.Sequencing.Fence || q.Sequencing.Base < before.Sequencing.Base {
				t.Fatalf("the row went from %+v to %+v", before, q)
			}
		}
	})
}

func ExampleQueue_Claim() {
	var row store.Queue // nothing was published yet
	row, grant, _ := row.Claim(store.Claim{
		Queue: "orders", Owner: "sequencer-1", Shard: "shard-0", First: "100", Arrival: now, Now: now, Lease: 60_000})
	fmt.Println(grant.Base, grant.Fence)

	_, _, err := row.Claim(store.Claim{Queue: "orders", Owner: "sequencer-2", Now: now + 1})
	fmt.Println(errors.Is(err, store.ErrConflict))

	row, _ = row.Advance(store.Advance{Queue: "orders", Fence: grant.Fence, Head: id(grant.Base, 9), Shard: "shard-0", Through: "120"})
	fmt.Println(row.Head)
	// Output:
	// 1795228519000 1
	// true
	// z/2026/11/21/02/35/1795228519000-0000009
}
