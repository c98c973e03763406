//go:build aws

package interop

func otherRows() []row    { return nil }
func partialResults(w *world) {}
func runFlags(w *world) {}
func leocronLines(w *world) {}
