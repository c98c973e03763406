// Package imports holds the tests of the rules that concern every package: who may import whom, what a package may
// contain, and what must be documented. They are the walls that the layout of the repository promises.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// module is the path of this module.
const module = "github.com/rstreams-go/rstreams"

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath string
	Name       string
	Dir        string
	Standard   bool
	Module     *struct{ Path string }

	GoFiles, IgnoredGoFiles   []string
	TestGoFiles, XTestGoFiles []string
	Imports                   []string
}

// rel returns the path within the module, "." for its root.
func (p pkg) rel() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// list runs go list at the root of the module. With -e it goes on where packages do not build, so that an import cycle
// does not hide which wall it breaks.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v\n%s", err, failed.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// once keeps the answer of the slowest call for all tests.
var once struct {
	sync.Once
	all []pkg
}

// packages returns the packages of the module.
func packages(t *testing.T) []pkg {
	t.Helper()
	once.Do(func() { once.all = list(t, "./...") })
	if len(once.all) < 10 {
		t.Fatalf("go list knows only %d packages of the module", len(once.all))
	}
	return once.all
}

// file is a parsed source file.
type file struct {
	*ast.File
	name string
	fset *token.FileSet
}

// at returns the place of a node for a message.
func (f file) at(n ast.Node) string {
	p := f.fset.Position(n.Pos())
	return filepath.ToSlash(f.name) + ":" + strconv.Itoa(p.Line)
}

// parse reads files of a package, with comments.
func parse(t *testing.T, p pkg, names ...string) []file {
	t.Helper()
	var all []file
	fset := token.NewFileSet()
	for _, name := range names {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file{File: f, name: filepath.Join(p.rel(), name), fset: fset})
	}
	return all
}

// sources returns the files of a package that are no tests, those of other systems included.
func sources(t *testing.T, p pkg) []file {
	t.Helper()
	var names []string
	for _, n := range append(p.GoFiles, p.IgnoredGoFiles...) {
		if !strings.HasSuffix(n, "_test.go") {
			names = append(names, n)
		}
	}
	return parse(t, p, names...)
}

// below tells whether path is dir or lies in it.
func below(path string, dirs ...string) bool {
	for _, d := range dirs {
		if path == d || strings.HasPrefix(path, d+"/") {
			return true
		}
	}
	return false
}
