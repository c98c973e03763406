//go:build aws

package interop

func goWritesRows() []row { return nil }
func otherRows() []row    { return nil }
func partialResults(w *world) {}
func runFlags(w *world) {}
func leocronLines(w *world) {}
