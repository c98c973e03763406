// Package config finds out which bus a program means and opens its backend. It is the only place in the SDK that knows
// backends.
//
// A bus is named by a url:
//
//	embedded:DIR   a bus in the files of a directory
//	aws:STAGE      the bus of a stage: .rstreams/STAGE.json in this directory or one above it, else what the stack
//	               rstreams-STAGE published, as a parameter of SSM or a secret
//	aws:           a bus on AWS that is found as leo-sdk finds it; see Find
//
// Without a url, RSTREAMS_BUS names the bus, and without that it is found like "aws:". Where RSTREAMS_ROLE is set, that role is taken on
// to use a bus on AWS: for programs in another account.
package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Env is the environment variable that names the bus where the program does not.
const Env = "RSTREAMS_BUS"

// ErrURL reports a bus that is not named, or in a form that is not known. Callers should show the text: it says what is
// accepted.
var ErrURL = errors.New("unknown bus")

// accepted says what a url may be.
const accepted = `want "embedded:DIR", such as embedded:./data: a bus in the files of a directory; ` +
	`or "aws:STAGE", such as aws:dev: a bus on AWS; or "aws:": the bus on AWS that the environment or a file configures`

// Options configures Open. The zero value is usable.
type Options struct {
	// Now is the clock; nil means time.Now. Logger gets what an operator should know; nil means slog.Default.
	Now    func() time.Time
	Logger *slog.Logger
	// Find says where a bus on AWS is looked for.
	Find FindOptions
	// Budget bounds the retries of one call of a bus on AWS; 0 means 30 s.
	Budget time.Duration
}

// Backend is an open backend.
type Backend struct {
	// Place is what was opened; for a bus on AWS that was named by the environment, with what that says.
	Place Place
	// Store has the ports, Intake included. They serve until Close.
	Store store.Store
	// Host runs the bots for which hosts is true through invoker, as their triggers ask, until stop. An embedded bus serves
	// schedules too; on AWS the bus does that itself. It is nil in programs built with the tag rstreams_lambda.
	Host func(invoker store.Invoker, hosts func(store.Bot) bool) (stop func(), err error)
	// Check asks every part of a bus on AWS whether it is there and may be used; nil for an embedded bus.
	Check func(ctx context.Context) error
	// Close gives the backend up.
	Close func(ctx context.Context) error
}

// Place is a parsed bus url.
type Place struct {
	// Dir is the directory of an embedded bus, "" for a bus on AWS.
	Dir string
	// AWS tells that the bus is on AWS. Stage is the one that was named, "" for the bus that the environment or a file
	// configures.
	AWS   bool
	Stage string
	// Unnamed tells that nothing named a bus, so that the one that the environment or a file configures is meant, if any.
	Unnamed bool
}

// String returns the url of the place.
func (p Place) String() string {
	if p.AWS {
		return "aws:" + p.Stage
	}
	return "embedded:" + p.Dir
}

// stageName is what a stage may be called: it becomes part of the names of stacks and files.
var stageName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?$`)

// Parse reads a bus url; "" means the value of the environment variable RSTREAMS_BUS or, without that, "aws:" with Unnamed
// set. The error wraps ErrURL and names what is accepted.
func Parse(url string) (Place, error) {
	source := ""
	if url == "" {
		if url = os.Getenv(Env); url == "" {
			return Place{AWS: true, Unnamed: true}, nil
		}
		source = " (from " + Env + ")"
	}
	scheme, rest, found := strings.Cut(url, ":")
	rest = strings.TrimPrefix(rest, "//")
	switch {
	case found && scheme == "aws" && (rest == "" || stageName.MatchString(rest)):
		return Place{AWS: true, Stage: rest}, nil
	case found && scheme == "aws":
		return Place{}, fmt.Errorf("%w: %q%s: a stage has letters, digits and hyphens only; %s", ErrURL, url, source, accepted)
	case !found || scheme != "embedded":
		return Place{}, fmt.Errorf("%w: %q%s; %s", ErrURL, url, source, accepted)
	case rest == "":
		return Place{}, fmt.Errorf("%w: %q%s names no directory; %s", ErrURL, url, source, accepted)
	}
	return Place{Dir: rest}, nil
}

// Open opens the backend of a bus url. ctx bounds only the opening. The caller closes the backend. The errors are ErrURL and,
// for a bus on AWS, those of Find.
func Open(ctx context.Context, url string, o Options) (*Backend, error) {
	place, err := Parse(url)
	if err != nil {
		return nil, err
	}
	return place.Open(ctx, o)
}

// Open opens the backend of the place, as the function Open does.
func (p Place) Open(ctx context.Context, o Options) (*Backend, error) {
	if p.AWS {
		return openAWS(ctx, p, o)
	}
	return openEmbedded(ctx, p, o)
}
