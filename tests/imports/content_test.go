package imports

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// core are the packages that get their clock from the caller, so that tests run in virtual time and a retry computes what
// the first try did.
func core(p pkg) bool {
	return below(p.rel(), "bus", "sdk/rstreams") && !below(p.rel(), "bus/store")
}

func TestCoreReadsNoClockOfItsOwn(t *testing.T) {
	for _, p := range packages(t) {
		if !core(p) {
			continue
		}
		for _, f := range sources(t, p) {
			ast.Inspect(f.File, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				for _, name := range []string{"Now", "Since", "Until", "Sleep", "Tick"} {
					if isSelector(call.Fun, "time", name) {
						t.Errorf("%s calls time.%s; take the time from the injected clock, wait on a timer and a context", f.at(n), name)
					}
				}
				return true
			})
		}
	}
}

// needs are the packages whose tests may be skipped where the machine lacks something: they say what, and CI has it all.
var needs = map[string]string{
	"bus/store/aws/awstest": "an emulator of AWS",
	"bus/store/aws":         "an emulator of AWS, or a feature that one of the emulators lacks",
	"infra":                 "Node.js, which the CDK runs in",
	"infra/rstreamscdk":     "Node.js, which the CDK runs in",
}

func TestNothingSleepsAndNothingIsSkipped(t *testing.T) {
	for _, p := range packages(t) {
		if below(p.rel(), "tests/bench") { // measures in real time
			continue
		}
		tests := parse(t, p, append(p.TestGoFiles, p.XTestGoFiles...)...)
		// In a bubble of virtual time a sleep takes no time and waits for everything else. Helpers may lie in other files.
		bubble := slices.ContainsFunc(tests, func(f file) bool { return usesSynctest(f.File) })
		for _, f := range append(sources(t, p), tests...) {
			test := strings.HasSuffix(f.name, "_test.go")
			ast.Inspect(f.File, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if isSelector(call.Fun, "time", "Sleep") && !(test && bubble) {
					t.Errorf("%s sleeps; wait for what is to happen", f.at(n))
				}
				for _, name := range []string{"Skip", "Skipf", "SkipNow"} {
					if isSelector(call.Fun, "t", name) && needs[p.rel()] == "" {
						t.Errorf("%s skips; what cannot run everywhere belongs behind a build tag", f.at(n))
					}
				}
				return true
			})
		}
	}
}

func usesSynctest(f *ast.File) bool {
	return slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` })
}

// isSelector tells whether an expression is pkg.name.
func isSelector(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == pkg
}

func TestImportingHasNoEffect(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range sources(t, p) {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: func init; do the work in a constructor", f.at(d))
				}
			}
		}
	}
}

// TestNoGlobalState finds assignments to package variables, and package variables without a value, which can only be there
// to get one later.
func TestNoGlobalState(t *testing.T) {
	for _, p := range packages(t) {
		files := sources(t, p)
		// Objects are resolved within a file, which is what is needed here, without type checking.
		globals := make(map[string]*ast.Object) //nolint:staticcheck // See above.
		pools := poolTypes(files)
		for _, f := range files {
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					for _, name := range v.Names {
						globals[name.Name] = name.Obj
					}
					if v.Values == nil && !pools[typeName(v.Type)] && !embedded(g, v) {
						t.Errorf("%s: variable %s of the package has no value yet", f.at(v), v.Names[0].Name)
					}
				}
			}
		}
		for _, f := range files {
			ast.Inspect(f.File, func(n ast.Node) bool {
				var targets []ast.Expr
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok != token.DEFINE {
						targets = n.Lhs
					}
				case *ast.IncDecStmt:
					targets = []ast.Expr{n.X}
				}
				for _, e := range targets {
					id := root(e)
					if id == nil {
						continue
					}
					// Names of other files are not resolved by the parser: they have no object.
					if o, ok := globals[id.Name]; ok && (id.Obj == o || id.Obj == nil) {
						t.Errorf("%s changes variable %s of the package", f.at(n), id.Name)
					}
				}
				return true
			})
		}
	}
}

// poolTypes returns the names of the package's types that hold a sync.Pool and nothing else, and of sync.Pool itself: a
// pool is no state, since what it returns means nothing.
func poolTypes(files []file) map[string]bool {
	pools := map[string]bool{"sync.Pool": true}
	for _, f := range files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			t, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := t.Type.(*ast.StructType); ok && len(s.Fields.List) == 1 && typeName(s.Fields.List[0].Type) == "sync.Pool" {
				pools[t.Name.Name] = true
			}
			return true
		})
	}
	return pools
}

// typeName returns "T" or "pkg.T", or "" for other types.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if id, ok := e.X.(*ast.Ident); ok {
			return id.Name + "." + e.Sel.Name
		}
	}
	return ""
}

// embedded tells whether a variable is filled by a go:embed comment.
func embedded(g *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{g.Doc, v.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

// root returns the variable that an assignment changes: v of v.x[1].y.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default: // what a pointer or a call leads to is not the variable
			return nil
		}
	}
}
