//go:build !rstreams_lambda

package config

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// host returns what runs bots of this process on a bus on AWS. The bus's own functions serve schedules, triggers and dead runs
// for all bots, so this dispatcher never takes the lease: it only locks and starts the bots that it hosts.
func host(bus *awsbus.Bus, o Options) func(store.Invoker, func(store.Bot) bool) (func(), error) {
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	return func(invoker store.Invoker, hosts func(store.Bot) bool) (func(), error) {
		st := bus.Store()
		st.Settings = follower{st.Settings}
		d := dispatch.New(st, invoker, dispatch.Config{Hosts: hosts, Now: o.Now, Logger: o.Logger})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := d.Run(ctx); err != nil {
				log.Error("dispatcher", "error", err)
			}
		}()
		return func() {
			cancel()
			<-done
		}, nil
	}
}

// follower is settings in which someone else always holds the dispatcher's lease.
type follower struct{ store.Settings }

func (f follower) Acquire(ctx context.Context, name, owner string, now, expires int64) error {
	if name == dispatch.LeaseName {
		return fmt.Errorf("%w: the functions of the bus serve it (%s)", store.ErrConflict, time.UnixMilli(now).UTC().Format(time.RFC3339))
	}
	return f.Settings.Acquire(ctx, name, owner, now, expires)
}
