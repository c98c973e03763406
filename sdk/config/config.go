// Package config finds out which bus a program means and opens its backend. It is the only place in the SDK that knows
// backends.
package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Env is the environment variable that names the bus where the program does not.
const Env = "RSTREAMS_BUS"

// ErrURL reports a bus that is not named, or in a form that is not known. Callers should show the text: it says what is
// accepted.
var ErrURL = errors.New("unknown bus")

// accepted says what a url may be.
const accepted = `want "embedded:DIR", such as embedded:./data: a bus in the files of a directory`

// Options configures Open. The zero value is usable.
type Options struct {
	// Now is the clock; nil means time.Now. Logger gets what an operator should know; nil means slog.Default.
	Now    func() time.Time
	Logger *slog.Logger
}

// Backend is an open backend.
type Backend struct {
	// Store has the ports, Intake included. They serve until Close.
	Store store.Store
	// Close gives the backend up.
	Close func(ctx context.Context) error
}

// Place is a parsed bus url.
type Place struct {
	// Dir is the directory of an embedded bus.
	Dir string
}

// Parse reads a bus url; "" means the value of the environment variable RSTREAMS_BUS. The error wraps ErrURL and names what is
// accepted; there is no default, so that no program writes to a bus that nobody chose.
func Parse(url string) (Place, error) {
	source := ""
	if url == "" {
		if url = os.Getenv(Env); url == "" {
			return Place{}, fmt.Errorf("%w: none is given, and %s is not set; %s", ErrURL, Env, accepted)
		}
		source = " (from " + Env + ")"
	}
	scheme, rest, found := strings.Cut(url, ":")
	dir := strings.TrimPrefix(rest, "//")
	switch {
	case !found || scheme != "embedded":
		return Place{}, fmt.Errorf("%w: %q%s; %s", ErrURL, url, source, accepted)
	case dir == "":
		return Place{}, fmt.Errorf("%w: %q%s names no directory; %s", ErrURL, url, source, accepted)
	}
	return Place{Dir: dir}, nil
}

// Open opens the backend of a bus url. ctx bounds only the opening. The caller closes the backend.
func Open(ctx context.Context, url string, o Options) (*Backend, error) {
	place, err := Parse(url)
	if err != nil {
		return nil, err
	}
	bus, err := local.Open(ctx, place.Dir, local.Options{Now: o.Now, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return &Backend{Store: bus.Store(), Close: bus.Close}, nil
}
