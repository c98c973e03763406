package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mutant is production code with one rule broken.
type mutant struct {
	rule string // of bus.md 5.5, or of dispatching
	what string
	file string // from the top of the repository
	old  string // must occur in file exactly once
	new  string
}

var mutants = []mutant{
	{
		"1 one owner at a time", "a claim ignores the lease of another owner", "bus/store/queues.go",
		`if s.Open && s.Owner != c.Owner && s.Lease > c.Now {`, `if false {`,
	},
	{
		"2 a base of its own", "the base is the arrival time, whatever was given before", "bus/store/queues.go",
		"g.Base = max(c.Arrival, s.Base+1)\n\t\tif q.Head != \"\" {", "g.Base = c.Arrival\n\t\tif false {",
	},
	{
		"2 a retry keeps its base", "every claim gets a new base", "bus/store/queues.go",
		`if s.Open && s.Shard == c.Shard && s.First == c.First {`, `if false {`,
	},
	{
		"2 the intake's identity is kept", "what of the intake is published is not recorded", "bus/sequencer/publish.go",
		`Through: pub.p.group.to,`, `Through: "",`,
	},
	{
		"3 numbered in order", "chunks of a queue share a number", "bus/sequencer/group.go",
		`counter += int(pl.records)`, `counter += int(pl.records) - 1`,
	},
	{
		"3 numbered in order", "chunks of a queue are numbered backwards", "bus/sequencer/group.go",
		"for i := range st.chunks {\n\t\tpl := &st.chunks[i]", "for i := len(st.chunks) - 1; i >= 0; i-- {\n\t\tpl := &st.chunks[i]",
	},
	{
		"4 cut by content", "a chunk may also end because of the clock", "bus/sequencer/group.go",
		`if len(st.text) >= st.group.cfg.ChunkBytes ||`, `if st.group.cfg.Now().UnixMilli()%2 == 0 || len(st.text) >= st.group.cfg.ChunkBytes ||`,
	},
	{
		"4 pointers are chunks of their own", "a pointer overtakes the events before it", "bus/sequencer/group.go",
		"st.seal()\n\tpl := planned{", "pl := planned{",
	},
	{
		"5 inline or blob by size", "everything is stored inline", "bus/sequencer/upload.go",
		`if len(pl.gzip) <= store.MaxInlineItem || pl.pointer != nil {`, `if true {`,
	},
	{
		"6 chunks first, then the head", "a chunk that failed is taken for written", "bus/sequencer/publish.go",
		`u.failed = fmt.Errorf("sequencer: chunk of queue %s: %w", u.queue, it.Err)`, `_, _ = u, it`,
	},
	{
		"6 chunks first, then the head", "an error of the chunk store is ignored", "bus/sequencer/publish.go",
		`return fmt.Errorf("sequencer: chunks: %w", err)`, `return nil`,
	},
	{
		"6 the head is the last event", "the head is that of the first chunk", "bus/sequencer/publish.go",
		`Queue: u.queue, Fence: u.grant.Fence, Head: u.out.last,`, `Queue: u.queue, Fence: u.grant.Fence, Head: headOfMutant(u),`,
	},
	{
		"7 a lost fence stops the publisher", "an old fence may publish", "bus/store/queues.go",
		`if s.Fence != a.Fence || !s.Open {`, `if false {`,
	},
	{
		"7 what was published is not redone", "a repeated record is published again", "bus/sequencer/publish.go",
		`return u.grant.Through != "" &&`, `return u.grant.Through == "-" &&`,
	},
	{
		"8 leftovers are removed", "chunks of a crashed attempt stay", "bus/sequencer/publish.go",
		`if u.grant.Dirty || pub.lost[u.queue] {`, `if u == nil {`,
	},
	{
		"9 bad input is quarantined", "a bad line fails its batch", "bus/sequencer/decode.go",
		`return d.dead(deadletter.ReasonLine, err, raw)`, `return err`,
	},
	{
		"9 bad input is quarantined", "a bad event is dropped", "bus/sequencer/decode.go",
		"return d.dead(deadletter.ReasonEvent, err, raw)\n\t}\n\tif st == nil {", "return nil\n\t}\n\tif st == nil {",
	},
	{
		"10 every move of a head triggers", "a bot is asked for the first head of a queue only", "bus/dispatch/steps.go",
		`if head.ID <= row.Requested[ref] {`, `if row.Requested[ref] != "" {`,
	},
	{
		"10 dead runs are found", "a run that died holds its lock for ever", "bus/dispatch/decide.go",
		`return Decision{Action: Expire, Reason: Died}`, `return Decision{Action: Idle, Reason: Died}`,
	},
	{
		"dispatch: one run at a time", "a lock is taken over one that was taken since", "bus/store/internal/rules/bot.go",
		`if b.InvokeTime != l.Seen {`, `if false {`,
	},
	{
		"dispatch: one run at a time", "a run that was started can be started again", "bus/store/internal/rules/bot.go",
		`case i.StartTime != 0 || i.RequestID != "" || i.CompletedTime != 0:`, `case false:`,
	},
	{
		"a transaction keeps to its view", "a part of a batch is decoded again with the outer store", "bus/sequencer/publish.go",
		`pub.seq.again(ctx, st, pub.p,`, `pub.seq.again(ctx, pub.seq.store, pub.p,`,
	},
	{
		"archive: no event twice (W-D5)", "a pointer is checked before the archive is claimed only", "bus/sequencer/publish.go",
		`if hasSuffix(u.queue, store.ArchiveSuffix) && len(streams) > 0 &&`,
		`if hasSuffix(u.queue, store.ArchiveSuffix) && len(streams) < 0 &&`,
	},
	{
		"archive: its end follows (C40)", "a crash between the archive's head and its end is not repaired", "bus/sequencer/decode.go",
		`d.out.archives[strings.TrimSuffix(queue, store.ArchiveSuffix)] = head`, `_ = strings.TrimSuffix`,
	},
	{
		"statistics name real events (W-O7)", "the position is one event further", "bus/sequencer/stats.go",
		`first.Add(int(min(b.last, c.Records-1)))`, `first.Add(int(b.last + 1))`,
	},
	{
		"readers may trust a seal", "every chunk is sealed", "bus/sequencer/group.go",
		`sealed: !st.loose,`, `sealed: true,`,
	},
	{
		"readers can prove completeness", "chunks do not say what they follow", "bus/sequencer/group.go",
		"prev = c.End\n", "",
	},
}

// extra is what a mutant needs besides its patch.
var extra = map[string]string{
	"headOfMutant": `
func headOfMutant(u *unit) string {
	if len(u.out.chunks) > 0 {
		return u.out.chunks[0].End
	}
	return u.out.last
}
`,
}

// mutantSeeds is how many seeds may be needed to notice a mutant.
const mutantSeeds = 3000

var failedSeed = regexp.MustCompile(`seed (\d+): ([^\n]*?): `)

// TestBreakingAnyRuleIsNoticed breaks the production code, one rule at a time, and expects that a seed fails. It takes
// minutes, so it runs only with RSTREAMS_SIM_MUTATIONS=1; any other text runs the mutants whose description contains it.
func TestBreakingAnyRuleIsNoticed(t *testing.T) {
	which := os.Getenv("RSTREAMS_SIM_MUTATIONS")
	if which == "" {
		t.Log("set RSTREAMS_SIM_MUTATIONS=1 to run this test; scripts/test does")
		return
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| rule | what was broken | seed | what the simulation says |\n|---|---|---|---|\n")
	type result struct {
		seed, invariant string
		err             error
	}
	chosen := mutants
	if which != "1" {
		chosen = slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !strings.Contains(m.rule+" "+m.what, which) })
	}
	results := make([]result, len(chosen))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2) // Linking has one thread.
	for i, m := range chosen {
		dir := t.TempDir()
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r := &results[i]
			r.seed, r.invariant, r.err = m.run(t.Context(), root, dir)
		})
	}
	wg.Wait()
	for i, m := range chosen {
		r := results[i]
		if r.err != nil {
			t.Errorf("mutant %d, %s: %s: %v", i, m.rule, m.what, r.err)
			continue
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", m.rule, m.what, r.seed, r.invariant)
	}
	t.Logf("mutants and how they were noticed\n%s", table.String())
}

// run builds the mutant and runs the simulation on it.
func (m mutant) run(ctx context.Context, root, dir string) (seed, invariant string, err error) {
	path := filepath.Join(root, filepath.FromSlash(m.file))
	source, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", "", fmt.Errorf("the patch fits %d times into %s, not once; correct it:\n%s", n, m.file, m.old)
	}
	text := strings.Replace(string(source), m.old, m.new, 1)
	for name, code := range extra {
		if strings.Contains(m.new, name) {
			text += code
		}
	}
	changed := filepath.Join(dir, filepath.Base(m.file))
	overlay := filepath.Join(dir, "overlay.json")
	replace := map[string]string{path: changed}
	js, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", "", err
	}
	if err := errors.Join(os.WriteFile(changed, []byte(text), 0o600), os.WriteFile(overlay, js, 0o600)); err != nil {
		return "", "", err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-vet=off", "-count=1", "-timeout=5m",
		"-run", "^TestEverySeedKeepsEveryPromise$", "./tests/sim")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "RSTREAMS_SIM_MUTATIONS=", "RSTREAMS_SIM_SEED=", "RSTREAMS_SIM_BRIEF=1",
		fmt.Sprintf("RSTREAMS_SIM_SEEDS=%d", mutantSeeds))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", "", fmt.Errorf("%d seeds did not notice it", mutantSeeds)
	case !errors.As(err, &exit):
		return "", "", err
	}
	found := failedSeed.FindSubmatch(out)
	if found == nil {
		return "", "", fmt.Errorf("the simulation did not run:\n%s", out)
	}
	return string(found[1]), string(found[2]), nil
}

// TestEveryMutantIsDocumented keeps the table of docs/simulation.md from falling behind.
func TestEveryMutantIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		if row := fmt.Sprintf("| %s | %s |", m.rule, m.what); !strings.Contains(string(page), row) {
			t.Errorf("docs/simulation.md has no row %q; run this test with RSTREAMS_SIM_MUTATIONS=1 and copy its table", row)
		}
	}
}
