// Package compat checks docs/compat.md against the repository: that it speaks of every weak spot and every statement of the
// contract, that the tests it names exist, and that its versions are those that are pinned. Whether a test proves what the page
// says, only people can tell.
package compat

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const page = "docs/compat.md"

// read returns a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// row is a line of a table.
type row struct {
	line  int
	cells []string
}

// rows returns the table rows of a section of the page, without head and rule.
func rows(t *testing.T, section string) (out []row) {
	t.Helper()
	in := false
	for i, text := range strings.Split(read(t, page), "\n") {
		if name, ok := strings.CutPrefix(text, "## "); ok {
			in = name == section
		}
		if !in || !strings.HasPrefix(text, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(text, "| "), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out = append(out, row{line: i + 1, cells: cells})
	}
	if len(out) < 2 {
		t.Fatalf("%s has no table in a section %q", page, section)
	}
	return out[1:]
}

func (r row) at() string { return fmt.Sprintf("%s:%d: %s", page, r.line, r.cells[0]) }

// numbers returns prefix1 to prefixN.
func numbers(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, prefix+strconv.Itoa(i+1))
	}
	return out
}

func TestEveryWeakSpotAndEveryStatementHasARowWithItsProof(t *testing.T) {
	for section, want := range map[string]struct {
		numbers []string
		states  []string
	}{
		"Weak spots": {
			slices.Concat(numbers("W-D", 13), numbers("W-P", 16), numbers("W-S", 13), numbers("W-O", 10)), []string{"fixed", "in part", "not"},
		},
		"The contract with clients": {numbers("C", 70), []string{"holds", "in part", "not ours"}},
	} {
		var got []string
		count := map[string]int{}
		for _, r := range rows(t, section) {
			got = append(got, r.cells[0])
			if len(r.cells) != 4 {
				t.Errorf("%s: %d cells, want number, state, what holds, proof", r.at(), len(r.cells))
				continue
			}
			state, text := r.cells[1], r.cells[2]
			if !slices.Contains(want.states, state) || len(text) < 10 {
				t.Errorf("%s: state %q with text %q", r.at(), state, text)
			}
			count[state]++
			proofs := len(reference.FindAllString(r.cells[3], -1))
			switch whole := state == want.states[0] || state == "in part"; {
			case whole && proofs == 0:
				t.Errorf("%s: %s without a test", r.at(), state)
			case !whole && (proofs > 0 || len(text) < 20):
				t.Errorf("%s: %s needs a reason, and no test", r.at(), state)
			}
		}
		if !slices.Equal(got, want.numbers) {
			t.Errorf("%s: the rows are %v\nwant %v", section, got, want.numbers)
		}
		t.Logf("%s: %v", section, count)
	}
}

// reference is a test by which the page proves something.
var reference = regexp.MustCompile("`(?:([a-z][\\w/-]*)\\.((?:Test|Fuzz|Example)\\w+)|(interop) ([A-Z]\\d+)|(storetest) \"([^\"]+)\")`")

func TestEveryTestThatIsNamedExists(t *testing.T) {
	text := read(t, page)
	known := map[string]map[string]bool{}
	tests := func(dir string) map[string]bool {
		if known[dir] == nil {
			known[dir] = declared(t, dir)
		}
		return known[dir]
	}
	found := reference.FindAllStringSubmatch(text, -1)
	if len(found) < 100 {
		t.Fatalf("only %d tests are named", len(found))
	}
	for _, m := range found {
		var dir, name string
		switch {
		case m[1] != "":
			dir, name = m[1], m[2]
		case m[3] != "":
			dir, name = "tests/interop", "row "+m[4]
		default:
			dir, name = "bus/store/storetest", "row "+m[6]
		}
		if !tests(dir)[name] {
			t.Errorf("%s names %s: there is no %q in %s", page, m[0], name, dir)
		}
	}
	// What looks like a test and is not read as one would go unchecked.
	loose := regexp.MustCompile("\\b(Test|Fuzz)[A-Z]\\w+|`(storetest|interop)\\b[^`]*`")
	for i, line := range strings.Split(reference.ReplaceAllString(text, ""), "\n") {
		for _, s := range loose.FindAllString(line, -1) {
			if s != "`interop X`" && s != "`storetest`" { // where the forms are explained
				t.Errorf("%s:%d: %s is in no form that is checked", page, i+1, s)
			}
		}
	}
}

// declared returns the test functions of a folder, whatever their build tags, and the names in its tables of tests: texts that
// come first in a list of values, as "row NAME".
func declared(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasSuffix(name, "_test.go") {
				names[fn.Name.Name] = true
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			list, ok := n.(*ast.CompositeLit)
			if !ok || list.Type != nil || len(list.Elts) < 2 {
				return true
			}
			if first, ok := list.Elts[0].(*ast.BasicLit); ok && first.Kind == token.STRING {
				if text, err := strconv.Unquote(first.Value); err == nil {
					names["row "+text] = true
				}
			}
			return true
		})
	}
	return names
}

func TestVersionsAreThoseThatArePinned(t *testing.T) {
	forms := map[string]string{
		"original SDK, `leo-sdk`":   `"leo-sdk": "VERSION"`,
		"its AWS client, `aws-sdk`": `"aws-sdk": "VERSION"`,
		"MiniStack":                 "ministack==VERSION\n",
		"LocalStack":                "localstack-core==VERSION\n",
		"CDK for Go, `awscdk`":      "github.com/aws/aws-cdk-go/awscdk/v2 vVERSION\n",
		"CDK constructs":            "github.com/aws/constructs-go/constructs/v10 vVERSION\n",
		"jsii runtime":              "github.com/aws/jsii-runtime-go vVERSION\n",
		"CDK command line":          "\ncdk_version=VERSION\n",
	}
	for _, r := range rows(t, "Versions") {
		form, ok := forms[r.cells[0]]
		if !ok || len(r.cells) != 3 {
			t.Errorf("%s: nothing tells where it is pinned", r.at())
			continue
		}
		delete(forms, r.cells[0])
		file := strings.Trim(r.cells[2], "`")
		if want := strings.ReplaceAll(form, "VERSION", r.cells[1]); !strings.Contains(read(t, file), want) {
			t.Errorf("%s: %s does not have %q", r.at(), file, want)
		}
	}
	for name := range forms {
		t.Errorf("%s has no version of %s", page, name)
	}
}

// The attributes and settings that are said to be ours must be what the code writes.
func TestWhatIsStoredBesidesIsWhatTheCodeWrites(t *testing.T) {
	var source strings.Builder
	for _, dir := range []string{"bus/store/aws", "bus/registry", "bus/dispatch", "bus/loader", "bus/archive", "sdk/rstreams"} {
		files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(dir), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	code := regexp.MustCompile("`([^`]+)`")
	n := 0
	for _, r := range rows(t, "What is stored besides") {
		for _, c := range r.cells[:len(r.cells)-1] {
			for _, m := range code.FindAllStringSubmatch(c, -1) {
				name := strings.TrimPrefix(m[1], "lock_")
				if i := strings.IndexAny(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"); i > 0 {
					name = name[:i] // a prefix
				}
				if n++; !strings.Contains(source.String(), `"`+name) {
					t.Errorf("%s: nothing writes %s", r.at(), m[1])
				}
			}
		}
	}
	if n < 14 {
		t.Errorf("only %d names", n)
	}
}
