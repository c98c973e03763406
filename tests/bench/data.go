package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// payloads makes n different payloads of some 200 bytes, such as a shop would write. The same n makes the same.
func payloads(n int) []json.RawMessage { return payloadsOf(n, 0) }

// payloadsOf makes n payloads of at least size bytes, with as many lines in each order as that takes.
func payloadsOf(n, size int) []json.RawMessage {
	rng := rand.New(rand.NewPCG(20, 26))
	names := []string{"Ada Okafor", "Björn Åkesson", "Chen Wei", "Dana \\\"D\\\" Levi", "Eva Novák", "Farid Haddad", "Grace Kim", "Hugo Silva"}
	states := []string{"placed", "paid", "packed", "shipped", "delivered", "returned"}
	list := make([]json.RawMessage, n)
	ends := make([]int, n)
	var b bytes.Buffer
	for i := range list {
		fmt.Fprintf(&b, `{"orderId":"ord-%08x","customer":{"id":%d,"name":"%s","vip":%t},"state":"%s","total":%d.%02d,"currency":"EUR","lines":[`,
			rng.Uint32(), rng.IntN(1_000_000), names[rng.IntN(len(names))], rng.IntN(10) == 0, states[rng.IntN(len(states))],
			rng.IntN(2000), rng.IntN(100))
		begin := 0
		if i > 0 {
			begin = ends[i-1]
		}
		for l, count := 0, 1+rng.IntN(2); l < count || b.Len()-begin < size-len(`],"note":null}`); l++ {
			if l > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"sku":"SKU-%05d","qty":%d}`, rng.IntN(100_000), 1+rng.IntN(9))
		}
		b.WriteString(`],"note":null}`)
		ends[i] = b.Len()
	}
	// One piece of memory for all: a heap of a million small objects would be the collector's benchmark, not the bus's.
	text, from := b.Bytes(), 0
	for i, end := range ends {
		list[i], from = text[from:end:end], end
	}
	return list
}
