package cli

import (
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress is a bar on standard error, or nothing where that is no terminal. The zero value is nothing.
type progress struct {
	bar *progressbar.ProgressBar
}

// progress begins a bar over total units, -1 for unknown. There is none with --quiet, and none in a pipe.
func (a *app) progress(total int64, what string) *progress {
	if a.quiet || !isTerminal(a.Err) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(total,
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWriter(a.Err),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("events"),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(total > 0),
		progressbar.OptionClearOnFinish(),
	)}
}

// isTerminal tells whether w is one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// set moves the bar to n.
func (p *progress) set(n int64) {
	if p.bar != nil {
		_ = p.bar.Set64(n)
	}
}

// end removes the bar, so that what is printed next stands alone.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
