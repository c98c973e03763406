//go:build aws

package crash

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// proxy passes a program's requests on to the emulator, and has the program killed at one of its writes.
type proxy struct {
	t      testing.TB
	target string
	server *httptest.Server
	kill   func()

	mu     sync.Mutex
	writes int // since arm
	at     int // the write at which to kill, 0 for none
	after  bool
	dead   bool
	hit    string // the write at which the program was killed
	counts map[string]int
}

func newProxy(t testing.TB, target string) *proxy {
	p := &proxy{t: t, target: target, counts: map[string]int{}}
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	return p
}

// arm has the program killed at the write number at, 0 for none: before it is passed on or, with after, before it is answered.
func (p *proxy) arm(at int, after bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes, p.at, p.after, p.dead, p.hit = 0, at, after, false, ""
}

// disarm returns how many writes there were since arm, and at which the program was killed, "" for none.
func (p *proxy) disarm() (writes int, hit string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = 0
	return p.writes, p.hit
}

// requests returns how many requests of each kind there were.
func (p *proxy) requests() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// operation names a request; write tells whether it changes anything.
func operation(r *http.Request) (name string, write bool) {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		_, name, _ = strings.Cut(target, ".")
		switch name {
		case "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "BatchExecuteStatement", "TransactWriteItems":
			write = true
		}
		return "DynamoDB " + name, write
	}
	return "S3 " + r.Method, r.Method != http.MethodGet && r.Method != http.MethodHead
}

// ServeHTTP passes a request on.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // The program died while it sent it.
	}
	name, write := operation(r)
	p.mu.Lock()
	p.counts[name]++
	dead, now := p.dead, false
	if write && !dead {
		p.writes++
		now = p.writes == p.at
		p.dead = now
		if now {
			p.hit = name
		}
	}
	after := p.after
	p.mu.Unlock()
	if dead {
		panic(http.ErrAbortHandler)
	}
	if now && !after {
		p.kill()
		panic(http.ErrAbortHandler)
	}
	out, err := http.NewRequest(r.Method, p.target+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		panic(http.ErrAbortHandler)
	}
	out.Header, out.ContentLength = r.Header.Clone(), int64(len(body))
	answer, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		p.t.Errorf("emulator: %v", err)
		panic(http.ErrAbortHandler)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Errorf("emulator: %v", err)
		panic(http.ErrAbortHandler)
	}
	if now {
		p.kill()
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	w.Write(text) //nolint:errcheck // A program that died is noticed elsewhere.
}
