package bot

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// part is what an instance reads of the run's events. It is safe for concurrent use.
type part struct {
	key func(e *rstreams.Event) int64
	// stop ends what the instance does.
	stop context.CancelCauseFunc

	mu     sync.Mutex
	failed *PanicError // the first panic of key
}

// newPart returns the part of an instance that stop ends; key nil means Hash of the id.
func newPart(key func(e *rstreams.Event) int64, stop context.CancelCauseFunc) *part {
	if key == nil {
		key = func(e *rstreams.Event) int64 { return Hash(e.EID) }
	}
	return &part{key: key, stop: stop}
}

// share returns the part as one of count; nil, which is everything, where it is the only one.
func (p *part) share(index, count int) *rstreams.Share {
	if count == 1 {
		return nil
	}
	return &rstreams.Share{Index: index, Count: count, Hash: func(e *rstreams.Event) int64 {
		return p.hash(e, int64(index)+1)
	}}
}

// hash returns the hash of an event's key. It is called from goroutines of the SDK's, where nothing else would catch a panic of the
// bot's code: that ends the instance, and the hash is other, of another instance's event, so that nobody handles it.
func (p *part) hash(e *rstreams.Event, other int64) (h int64) {
	defer func() {
		if v := recover(); v != nil {
			h = other
			p.fail(&PanicError{Value: v, Stack: string(debug.Stack())})
		}
	}()
	return p.key(e)
}

// fail notes a panic and ends the instance.
func (p *part) fail(err *PanicError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
		p.stop(err)
	}
}

// result returns the error of the instance whose code ended with err: a panic of key counts, whatever the code made of it.
func (p *part) result(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil || errors.Is(err, p.failed) {
		return err
	}
	return errors.Join(p.failed, err)
}
