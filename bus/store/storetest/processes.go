package storetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// OpenFunc opens the storage in a directory that may not exist yet, and returns it with what closes it.
type OpenFunc func(ctx context.Context, dir string) (store.Store, func() error, error)

// jobVariable is the environment variable that makes a test binary do a job for RunProcesses.
const jobVariable = "RSTREAMS_STORETEST_JOB"

// job is what a child process does.
type job struct {
	Role, Dir string
	ID, N     int
}

// ProcessMain must be called first in TestMain of a package that uses RunProcesses, whose child processes are the test
// binary again: there it does their job and does not return.
func ProcessMain(open OpenFunc) {
	text := os.Getenv(jobVariable)
	if text == "" {
		return
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.do(open)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// do opens the storage, waits until all processes of the test have, and does the job.
func (j job) do(open OpenFunc) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, closeStore, err := open(ctx, j.Dir)
	if err != nil {
		return fmt.Errorf("process %d: open: %w", j.ID, err)
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if err := roles[j.Role](ctx, j, s); err != nil {
		return fmt.Errorf("process %d: %w", j.ID, err)
	}
	return closeStore()
}

// tell reports something acknowledged, as a line of JSON.
func tell(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = os.Stdout.Write(append(b, '\n'))
	}
	return err
}

// process is a running child.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	out    *bufio.Reader
	stderr bytes.Buffer
}

func start(t *testing.T, j job) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.CommandContext(t.Context(), exe)}
	p.cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	p.cmd.Stderr = &p.stderr
	stdout, err1 := p.cmd.StdoutPipe()
	stdin, err2 := p.cmd.StdinPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	p.stdin, p.out = stdin, bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// ready waits until the child has opened the storage.
func (p *process) ready(t *testing.T) {
	t.Helper()
	if line, err := p.out.ReadString('\n'); err != nil || line != "ready\n" {
		_ = p.cmd.Wait()
		t.Fatalf("a process did not start: %q, %v: %s", line, err, p.stderr.String())
	}
}

// next returns the child's next report, or false at its end.
func next[T any](t *testing.T, p *process) (v T, ok bool) {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		return v, false // what a killed process told half was not acknowledged
	}
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatalf("report %q: %v", line, err)
	}
	return v, true
}

// wait returns the rest of the child's reports, and fails unless it ended well.
func wait[T any](t *testing.T, p *process) []T {
	t.Helper()
	var out []T
	for {
		v, ok := next[T](t, p)
		if !ok {
			break
		}
		out = append(out, v)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, p.stderr.String())
	}
	return out
}

// race starts n processes with one role, lets them go together, and returns the reports of each.
func race[T any](t *testing.T, role, dir string, n, rounds int) [][]T {
	t.Helper()
	ps := make([]*process, n)
	for i := range ps {
		ps[i] = start(t, job{Role: role, Dir: dir, ID: i, N: rounds})
	}
	for _, p := range ps {
		p.ready(t)
	}
	for _, p := range ps {
		_ = p.stdin.Close()
	}
	out := make([][]T, n)
	for i, p := range ps {
		out[i] = wait[T](t, p)
	}
	return out
}

// RunProcesses is the part of the suite for storage that several processes share: they race on one directory, and are
// killed in the middle of their work. TestMain must call ProcessMain with the same open.
//
// unknown is how many writes of a test may take effect although their callers are told of a conflict: where answers get lost on
// their way and others go on from such a write, nobody can tell what became of it. It is 0 for storage without a network.
func RunProcesses(t *testing.T, open OpenFunc, unknown int) {
	const n = 3
	here := func(t *testing.T, dir string) store.Store {
		t.Helper()
		s, closeStore, err := open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := closeStore(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	newDir := func(t *testing.T) string { return filepath.Join(t.TempDir(), "new", "bus") }

	t.Run("checkpoints that expect the same position succeed once", func(t *testing.T) {
		dir := newDir(t)
		won := slices.Concat(race[int64](t, "checkpoint", dir, n, 60)...)
		slices.Sort(won)
		b, err := here(t, dir).Bots.Get(t.Context(), "bot")
		if err != nil {
			t.Fatal(err)
		}
		got, acknowledged := int(b.Read["queue:q"].Records), len(won)
		if won = slices.Compact(won); acknowledged != n*60 || len(won) != n*60 || got < n*60 || got > n*60+unknown || won[n*60-1] > int64(got) {
			t.Errorf("%d checkpoints were acknowledged, %d of them different, the last stored is number %d", acknowledged, len(won), got)
		}
	})
	t.Run("a bot is locked once for each state of its row", func(t *testing.T) {
		dir := newDir(t)
		tokens := slices.Concat(race[int64](t, "lock", dir, n, 100)...)
		slices.Sort(tokens)
		given := slices.Compact(slices.Clone(tokens))
		if len(given) != len(tokens) || len(given) > 100 || len(given) < 100-unknown || given[0] < 1 || given[len(given)-1] > 100 {
			t.Errorf("%d locks were taken, one for each token from 1 to 100 was to be: %v", len(tokens), tokens)
		}
	})
	t.Run("a lock of the settings excludes", func(t *testing.T) {
		dir := newDir(t)
		race[int](t, "exclude", dir, n, 40)
		v, err := here(t, dir).Settings.Get(t.Context(), "count")
		if err != nil || string(v) != fmt.Sprint(n*40) {
			t.Errorf("count is %s, want %d, error %v", v, n*40, err)
		}
	})
	t.Run("sequencers leave no gap, overlap or repeat", func(t *testing.T) {
		dir := newDir(t)
		published := slices.Concat(race[batchRange](t, "sequence", dir, n, 40)...)
		if len(published) != n*40 {
			t.Errorf("%d batches were published, want %d", len(published), n*40)
		}
		w := &world{store: here(t, dir), queue: "q", published: published}
		w.verify(t.Context(), t.Fatalf)
	})
	t.Run("blobs are replaced whole", func(t *testing.T) {
		race[int](t, "blob", newDir(t), n, 40)
	})
	t.Run("the feed tells of other processes' changes", func(t *testing.T) {
		dir := newDir(t)
		race[int](t, "pingpong", dir, 2, 100)
	})
	t.Run("what was acknowledged survives kill -9", func(t *testing.T) {
		dir := newDir(t)
		survivor := start(t, job{Role: "sequence", Dir: dir, ID: 9, N: 150})
		survivor.ready(t)
		_ = survivor.stdin.Close()
		var published []batchRange
		for round := range 6 {
			victim := start(t, job{Role: "sequence", Dir: dir, ID: 1, N: 1_000_000})
			victim.ready(t)
			_ = victim.stdin.Close()
			for range 5 + 7*round {
				r, ok := next[batchRange](t, victim)
				if !ok {
					t.Fatalf("the process ended: %s", victim.stderr.String())
				}
				published = append(published, r)
			}
			if err := victim.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for { // what it had told until then
				r, ok := next[batchRange](t, victim)
				if !ok {
					break
				}
				published = append(published, r)
			}
			_ = victim.cmd.Wait()
		}
		// The same owner comes back, finds its work, and lets go of the queue.
		published = append(published, slices.Concat(race[batchRange](t, "return", dir, 1, 1)...)...)
		published = append(published, wait[batchRange](t, survivor)...)
		w := &world{store: here(t, dir), queue: "q", published: published, unreported: true}
		w.verify(t.Context(), t.Fatalf)
	})
}

// newSequencer is the sequencer of a child process.
func (j job) newSequencer(s store.Store, id int) *sequencer {
	return &sequencer{
		world: &world{store: s, queue: "q", real: true, random: rand.New(rand.NewPCG(uint64(id), 7)),
			report: func(r batchRange) error { return tell(r) }},
		owner: fmt.Sprint("owner", id), shard: fmt.Sprint("shard", id),
	}
}

// blobText is the text of a blob by one process.
func blobText(id int) string { return strings.Repeat(string(rune('a'+id)), 20_000) }
