// Package rstreams is the client of an RStreams bus: it writes events to queues, reads them in order, and turns one queue
// into another with checkpoints.
//
// A Bus is opened once and shared. Everything else is obtained from it:
//
//	bus, err := rstreams.Open(ctx, "embedded:./data")
//	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
//	ack, err := w.Put(ctx, order)               // batched; ack.Wait tells when it is durable
//	for e, err := range bus.Read(ctx, "orders", rstreams.ReadOptions{Bot: "billing"}) { ... }
//	stats, err := bus.Enrich(ctx, rstreams.EnrichOptions{Bot: "pricing", From: []string{"orders"}, To: "orders.priced"}, price)
//
// What holds everywhere:
//
//   - A read ends without an error only for the reason it states (Reader.Reason). A failure, a missing chunk or a damaged
//     line is an error that names queue and event id; nothing is skipped in silence.
//   - Acknowledged means durable. A checkpoint is written after everything that was derived up to it is durable, so a crash
//     at any point repeats events and never loses one: delivery is at least once.
//   - Events of one queue that one Writer takes are stored in the order in which it took them.
//   - Memory is bounded by options, not by the size of a queue, an object or a batch.
//   - Every call takes a context and stops promptly; no goroutine outlives the call or value that started it.
//
// There is no global state. What the Node SDK kept in a registry of the process is a Session, a view of the bus.
package rstreams
