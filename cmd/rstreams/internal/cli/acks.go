package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// acks follows which lines of the input are durable. Lines of one queue are acknowledged in order, those of different queues
// independently; what counts for a restart is the last line before which everything is durable.
type acks struct {
	mu      sync.Mutex
	pending map[string]*fifo // lines not acknowledged, by queue
	line    int64            // the last line that was handled
	through int64            // the last line up to which all is durable
	events  int64            // acknowledged
	failed  error

	// Every acknowledgement is reported to out, at least every lines apart, and to the file.
	out      io.Writer
	every    int64
	reported int64
	file     string
	kick     chan struct{}
	done     chan struct{}
	fileErr  error
}

// fifo is a queue of line numbers.
type fifo struct {
	lines []int64
	head  int
}

func newAcks(from int64, out io.Writer, every int64, file string) *acks {
	a := &acks{pending: map[string]*fifo{}, line: from, through: from, reported: from, out: out, every: every, file: file}
	if file != "" {
		a.kick, a.done = make(chan struct{}, 1), make(chan struct{})
		go a.keep()
	}
	return a
}

// put tells that line, or nothing of it, is about to be put into queue.
func (a *acks) put(queue string, line int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.pending[queue]
	if f == nil {
		f = &fifo{}
		a.pending[queue] = f
	}
	if f.head > 4096 && f.head > len(f.lines)/2 {
		f.lines = f.lines[:copy(f.lines, f.lines[f.head:])]
		f.head = 0
	}
	f.lines = append(f.lines, line)
	a.line = line
}

// takeBack undoes the newest put of queue: the line was refused.
func (a *acks) takeBack(queue string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.pending[queue]
	f.lines = f.lines[:len(f.lines)-1]
	a.line--
	a.settle()
}

// skip tells that line holds nothing to be put.
func (a *acks) skip(line int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line = line
	a.settle()
}

// ack tells that the oldest n lines of queue are durable.
func (a *acks) ack(queue string, n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		if a.failed == nil {
			a.failed = err
		}
		return
	}
	f := a.pending[queue]
	if f == nil || len(f.lines)-f.head < n {
		a.failed = fmt.Errorf("queue %s acknowledged %d events more than were written to it", queue, n)
		return
	}
	f.head += n
	a.events += int64(n)
	a.settle()
}

// settle moves through. a.mu is held.
func (a *acks) settle() {
	if a.failed != nil {
		return
	}
	through := a.line
	for _, f := range a.pending {
		if f.head < len(f.lines) {
			through = min(through, f.lines[f.head]-1)
		}
	}
	if through <= a.through {
		return
	}
	a.through = through
	if a.every > 0 && through-a.reported >= a.every {
		a.report()
	}
	if a.kick != nil {
		select {
		case a.kick <- struct{}{}:
		default:
		}
	}
}

// ackLine is what `rstreams write --ack-every` prints.
type ackLine struct {
	// Acknowledged is the number of the last line up to which everything is durable.
	Acknowledged int64 `json:"acknowledged"`
}

// report prints the state. a.mu is held.
func (a *acks) report() {
	a.reported = a.through
	if err := json.NewEncoder(a.out).Encode(ackLine{a.through}); err != nil && a.failed == nil {
		a.failed = fmt.Errorf("cannot print acknowledgements: %w", err)
	}
}

// state returns the last line up to which all is durable, and how many events are.
func (a *acks) state() (through, events int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.through, a.events
}

// finish reports the last state and ends the file.
func (a *acks) finish() error {
	a.mu.Lock()
	a.settle()
	if a.every > 0 && a.through > a.reported {
		a.report()
	}
	err := a.failed
	a.mu.Unlock()
	if a.kick != nil {
		close(a.kick)
		<-a.done
		if err == nil {
			err = a.fileErr
		}
	}
	return err
}

// keep writes the newest state to the file whenever it moved.
func (a *acks) keep() {
	defer close(a.done)
	for range a.kick {
		a.save()
	}
	a.save()
}

func (a *acks) save() {
	through, _ := a.state()
	if a.fileErr = saveAcks(a.file, through); a.fileErr != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.failed == nil {
			a.failed = a.fileErr
		}
	}
}

// saveAcks replaces the file by one that names the line. It is durable when it returns, and whole at any moment.
func saveAcks(file string, line int64) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("cannot write the file of acknowledgements: %w", err)
	}
	_, err = fmt.Fprintln(tmp, line)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("cannot write the file of acknowledgements: %w", err)
	}
	return nil
}

// loadAcks reads what saveAcks wrote; 0 where there is no file.
func loadAcks(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the file of acknowledgements: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the file of acknowledgements %s holds no line number; name the line with --from-line", file)
	}
	return n, nil
}
