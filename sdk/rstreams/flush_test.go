package rstreams_test

import (
	"reflect"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// TestWritesThatComeDuringACallShareTheNext: programs that write one event each and wait until it is durable do not wait for a
// call each.
func TestWritesThatComeDuringACallShareTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{block: make(chan struct{})}
		var sent []int
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", OnAck: func(r rstreams.Receipt, err error) {
			if err != nil {
				t.Error(err)
			}
			sent = append(sent, r.Events)
		}})
		var writes sync.WaitGroup
		write := func() {
			writes.Go(func() {
				ack, err := w.Put(t.Context(), number{1})
				if err == nil {
					err = w.Flush(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case <-ack.Done():
				default:
					t.Error("Flush returned before the event was durable")
				}
			})
			synctest.Wait()
		}
		for range 5 {
			write()
		}
		s.block <- struct{}{} // the first event
		synctest.Wait()
		write() // During the second call.
		s.block <- struct{}{}
		s.block <- struct{}{}
		writes.Wait()
		synctest.Wait() // OnAck comes after the acknowledgement itself.
		if want := []int{1, 4, 1}; !reflect.DeepEqual(sent, want) {
			t.Errorf("calls of %v events, want %v", sent, want)
		}
	})
}
