//go:build rstreams_lambda

package bot

import (
	"context"
	"fmt"
	"io"
)

// execute refuses: the commands need the embedded bus.
func execute(_ context.Context, _ []string, _, stderr io.Writer, _ []Bot) int {
	_, _ = fmt.Fprintln(stderr, "error: this program was built for Lambda (build tag rstreams_lambda); build it without the tag to run it here")
	return 2
}
