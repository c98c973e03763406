package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/config"
)

func (a *app) devCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dev [PACKAGE [ARG...]]",
		Short: "Run a bus, and the bots of a Go program, in the foreground",
		Long: "dev serves the schedules of an embedded bus and logs what happens on it: queues that grow, bots that start, end and\n" +
			"fail. It runs until it is interrupted. On a bus on AWS, which serves schedules itself, it only logs.\n\n" +
			"With a Go package (such as ./cmd/bots, a program that calls bot.Main) it also builds and runs that program, with the\n" +
			"arguments given and RSTREAMS_BUS set, and builds and starts it anew whenever one of its Go files changes. A program\n" +
			"that does not compile is told of, and the one before runs on. On a bus on AWS the program's bots run here, beside those\n" +
			"that are deployed; a bot that is deployed there as a function is refused.",
		Args: args(0, -1, "[PACKAGE [ARG...]]"),
		RunE: func(_ *cobra.Command, names []string) error { return a.dev(names) },
	}
	c.Flags().SetInterspersed(false)
	return c
}

func (a *app) dev(names []string) (err error) {
	url := a.url
	if url == "" {
		url = os.Getenv(config.Env)
	}
	if url == "" {
		url = "embedded:./.rstreams"
		a.note("no bus is named; taking %s", url)
	}
	place, err := config.Parse(url)
	if err != nil {
		return err
	}
	h, err := hostBots(a, url, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close(a.hard)) }()
	ctx, cancel := context.WithCancelCause(a.soft)
	defer cancel(nil)

	// The log and the program end each other: neither is of use alone.
	log := make(chan error, 1)
	go func() {
		err := a.watch(ctx, h.bus.Store())
		cancel(err)
		log <- err
	}()
	if len(names) > 0 {
		p := program{a: a, pkg: names[0], args: append([]string{"dev"}, names[1:]...), url: url}
		err = p.run(ctx)
	} else {
		what := "serving"
		if place.AWS {
			what = "watching"
		}
		a.note("%s %s; interrupt to stop", what, url)
		<-ctx.Done()
	}
	cancel(nil)
	if e := <-log; e != nil && err == nil {
		err = e
	}
	return err
}

// watch logs what happens on the bus until ctx ends.
func (a *app) watch(ctx context.Context, st store.Store) error {
	w := watcher{a: a, st: st, runs: map[string]store.Instance{}, heads: map[string]string{}}
	err := w.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// watcher turns changes of rows into lines.
type watcher struct {
	a     *app
	st    store.Store
	runs  map[string]store.Instance
	heads map[string]string
}

func (w *watcher) run(ctx context.Context) error {
	_, cursor, err := w.st.Feed.Changes(ctx, "", 1)
	if err != nil {
		return err
	}
	// What was there before is no news.
	err = eachBot(ctx, w.st, nil, func(b store.Bot) error {
		w.runs[b.ID] = b.Instance
		return nil
	})
	if err != nil {
		return err
	}
	for {
		if err := w.st.Feed.Wait(ctx, cursor); err != nil {
			return err
		}
		changes, next, err := w.st.Feed.Changes(ctx, cursor, 1000)
		if errors.Is(err, store.ErrNotFound) {
			if _, next, err = w.st.Feed.Changes(ctx, "", 1); err == nil {
				w.line("too much happened at once; some of it is not shown")
			}
		}
		if err != nil {
			return err
		}
		cursor = next
		for _, c := range changes {
			switch c.Kind {
			case store.QueueChanged:
				err = w.queue(ctx, c.ID)
			case store.BotChanged:
				err = w.bot(ctx, c.ID)
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
	}
}

func (w *watcher) line(format string, v ...any) {
	_, _ = fmt.Fprintf(w.a.Out, "%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, v...))
}

func (w *watcher) queue(ctx context.Context, name string) error {
	q, err := w.st.Queues.Get(ctx, name)
	if err != nil || q.Head == w.heads[name] {
		return err
	}
	w.heads[name] = q.Head
	w.line("queue %s is at %s", name, q.Head)
	return nil
}

func (w *watcher) bot(ctx context.Context, id string) error {
	b, err := w.st.Bots.Get(ctx, id)
	if err != nil {
		return err
	}
	was, is := w.runs[id], b.Instance
	w.runs[id] = is
	if is.Token != was.Token && is.CompletedTime == 0 {
		w.line("bot   %s runs", id)
	}
	if is.CompletedTime == 0 || is.Token == was.Token && was.CompletedTime != 0 {
		return nil
	}
	took := span(time.Duration(is.CompletedTime-max(is.StartTime, is.InvokeTime)) * time.Millisecond)
	if is.Status == store.StatusError {
		w.line("bot   %s failed after %s (%d in a row): %s", id, took, b.ErrorCount, shorten(runLog(is.Log), 300))
	} else {
		w.line("bot   %s is done after %s", id, took)
	}
	return nil
}
