package imports

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// library tells whether users, or other packages as users, read the package's documentation.
func library(p pkg) bool { return p.Name != "main" && !below(p.rel(), "tests") }

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		files := sources(t, p)
		if len(files) > 0 && !slices.ContainsFunc(files, func(f file) bool { return f.Doc != nil }) {
			t.Errorf("package %s has no comment", p.rel())
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if !library(p) {
			continue
		}
		for _, f := range sources(t, p) {
			for _, d := range f.Decls {
				for _, n := range undocumented(d) {
					t.Errorf("%s: %s has no comment", f.at(n), n.Name)
				}
			}
		}
	}
}

// undocumented returns the exported names that a declaration makes without saying what they are. The comment of a group
// counts for its constants and variables; types and methods of interfaces need their own.
func undocumented(d ast.Decl) []*ast.Ident {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || ast.IsExported(receiver(d))) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		var all []*ast.Ident
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				if d.Doc == nil && s.Doc == nil && s.Comment == nil {
					for _, n := range s.Names {
						if n.IsExported() {
							all = append(all, n)
						}
					}
				}
			case *ast.TypeSpec:
				if !s.Name.IsExported() {
					continue
				}
				if s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
					all = append(all, s.Name)
				}
				if i, ok := s.Type.(*ast.InterfaceType); ok {
					for _, m := range i.Methods.List {
						if len(m.Names) > 0 && m.Names[0].IsExported() && m.Doc == nil && m.Comment == nil {
							all = append(all, m.Names[0])
						}
					}
				}
			}
		}
		return all
	}
	return nil
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// TestEveryPackageHasAnExample asks for one example with checked output in each package that users can import. What awstest does
// needs an emulator.
func TestEveryPackageHasAnExample(t *testing.T) {
	for _, p := range packages(t) {
		if !library(p) || strings.Contains("/"+p.rel()+"/", "/internal/") || below(p.rel(), "bus/store/storetest", "bus/store/aws/awstest", "examples") {
			continue
		}
		found := false
		for _, f := range parse(t, p, append(p.TestGoFiles, p.XTestGoFiles...)...) {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				found = found || ok && strings.HasPrefix(fn.Name.Name, "Example") && hasOutput(f, fn)
			}
		}
		if !found {
			t.Errorf("package %s has no Example with // Output:", p.rel())
		}
	}
}

// hasOutput tells whether a function ends in the comment that makes go test compare its output.
func hasOutput(f file, fn *ast.FuncDecl) bool {
	return slices.ContainsFunc(f.Comments, func(c *ast.CommentGroup) bool {
		text := strings.ToLower(c.Text())
		return c.Pos() > fn.Body.Pos() && c.End() < fn.Body.End() &&
			(strings.HasPrefix(text, "output:") || strings.HasPrefix(text, "unordered output:"))
	})
}
