// Package usecases shows what programs do with a bus, one runnable example for each use case. The domain is that of the
// original documentation: people come from somewhere, are looked at, enriched, split, summed up and handed on.
//
// Every example opens a bus of its own in a new directory. In a program of yours the same code works on any bus: only the
// url that rstreams.Open gets is another.
package usecases

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Person is the payload of the events in "people".
type Person struct {
	Name    string `json:"name"`
	Country string `json:"country"`
	Age     int    `json:"age,omitempty"`
}

// People are some of them.
func People() []Person {
	return []Person{
		{"Ada", "UK", 36}, {"Björn", "SE", 51}, {"Carla", "US", 29}, {"Dmitri", "DE", 44}, {"Erin", "US", 61}, {"Fatima", "MA", 33},
	}
}

// OpenTemporary opens a new, empty bus. The function that it returns closes and removes it.
func OpenTemporary(ctx context.Context) (*rstreams.Bus, func() error, error) {
	dir, err := os.MkdirTemp("", "rstreams-example-")
	if err != nil {
		return nil, nil, err
	}
	bus, err := rstreams.Open(ctx, "embedded:"+dir, rstreams.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return bus, func() error { return errors.Join(bus.Close(ctx), os.RemoveAll(dir)) }, nil
}

// Fill writes people to a queue.
func Fill(ctx context.Context, bus *rstreams.Bus, queue string, people ...Person) error {
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "people-source", Queue: queue})
	if err != nil {
		return err
	}
	for _, p := range people {
		if _, err := w.Put(ctx, p); err != nil {
			return errors.Join(err, w.Close(ctx))
		}
	}
	return w.Close(ctx)
}
