package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// errNotStorable reports what the bus takes, acknowledges and makes a dead letter. Callers should correct it before it is sent.
var errNotStorable = errors.New("the bus would make it a dead letter")

// maxSnapshotTime is the latest time of a snapshot in ms, that of the latest event id.
const maxSnapshotTime = 9_999_999_999_999

// storableQueue reports a queue that takes no events. The error wraps errNotStorable or ref.ErrInvalid.
func storableQueue(queue string) error {
	if err := ref.ValidateQueue(queue); err != nil {
		return err
	}
	for _, suffix := range []string{store.ArchiveSuffix, store.SnapshotSuffix} {
		if plain := ref.Queue(queue); strings.HasSuffix(plain, suffix) {
			return fmt.Errorf("%w: queues that end in %s are the bus's own; write to %q", errNotStorable, suffix, strings.TrimSuffix(plain, suffix))
		}
	}
	return nil
}

// storable reports a whole event that cannot be stored in queue, because of the queue or of its own members.
func storable(l *event.Line, queue string) error {
	if err := storableQueue(queue); err != nil {
		return err
	}
	switch at := l.Snapshot(); {
	case l.IsPointer() || l.Command() != "":
		return fmt.Errorf("%w: it is a pointer or a command of the bus, not an event", event.ErrSyntax)
	case l.Archive():
		return fmt.Errorf("%w: only the archiver writes lines with \"archive\"; leave it out to write an event", errNotStorable)
	case at < 0 || at > maxSnapshotTime:
		return fmt.Errorf("%w: the time of its \"snapshot\" must lie between 0 and %d ms", errNotStorable, int64(maxSnapshotTime))
	case at != 0 && len(ref.Queue(queue))+len(store.SnapshotSuffix) > ref.MaxQueueBytes:
		return fmt.Errorf("%w: as that of a snapshot the queue's name has more than %d bytes", errNotStorable, ref.MaxQueueBytes)
	}
	return nil
}
