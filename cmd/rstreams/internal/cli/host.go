package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// host runs bots of this process on a bus.
type host struct {
	bus     *rstreams.Bus
	bots    []bot.Bot
	backend *config.Backend
	runner  *bot.Runner
	stop    func()
}

// hostBots opens the bus, registers the bots and runs them as their triggers and schedules ask.
func hostBots(a *app, url string, bots []bot.Bot) (*host, error) {
	log := a.logger(slog.LevelWarn)
	h := &host{bots: bots}
	var err error
	if h.backend, err = config.Open(a.hard, url, config.Options{Logger: log}); err != nil {
		return nil, err
	}
	h.bus = rstreams.New(h.backend.Store, rstreams.Options{Logger: log})
	if err := h.start(a.soft, log); err != nil {
		return nil, errors.Join(err, h.close(a.hard))
	}
	return h, nil
}

func (h *host) start(ctx context.Context, log *slog.Logger) (err error) {
	if h.runner, err = bot.NewRunner(h.bus, bot.RunnerConfig{Logger: log}, h.bots...); err != nil {
		return err
	}
	if err := bot.Register(ctx, h.bus.Store().Bots, h.bots...); err != nil {
		return err
	}
	h.stop, err = h.backend.Host(h.runner, h.runner.Hosts)
	return err
}

// ids are the ids of the bots.
func (h *host) ids() []string {
	ids := make([]string, len(h.bots))
	for i, b := range h.bots {
		ids[i] = b.ID
	}
	return ids
}

// run asks for a run of a bot.
func (h *host) run(ctx context.Context, id string) error {
	now := time.Now().UnixMilli()
	if err := h.bus.Store().Bots.Control(ctx, id, store.Control{Trigger: &now}); err != nil {
		return fmt.Errorf("run bot %s: %w", id, err)
	}
	return nil
}

// stopBots lets the bots finish what they are at.
func (h *host) stopBots(ctx context.Context) error {
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
	if h.runner == nil {
		return nil
	}
	return h.runner.Close(ctx)
}

// close stops the bots and closes the bus.
func (h *host) close(ctx context.Context) error {
	return errors.Join(h.stopBots(ctx), h.backend.Close(ctx))
}
