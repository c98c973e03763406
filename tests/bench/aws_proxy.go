package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// The columns of the comparison: services that bill by the request. Lambda's are invocations, which the functions' logs tell.
const (
	dynamoDB = "DynamoDB"
	kinesis  = "Kinesis"
	s3       = "S3"
	lambdas  = "Lambda"
)

// request is what one request asks for.
type request struct {
	service, operation string
	// on is the table of a request to DynamoDB, "" for others.
	on string
}

func (r request) String() string {
	return strings.TrimSpace(r.service + " " + r.operation + " " + r.on)
}

// counter is a reverse proxy in front of an emulator: it counts what goes through. It is safe for concurrent use.
type counter struct {
	proxy *httputil.ReverseProxy

	mu     sync.Mutex
	counts map[request]int
	// batches are the queues that each batch published. A batch is known by its owner, which is an invocation's own name.
	batches map[string]map[string]bool
	last    time.Time // of the last request to a service of the bus
	// published is when a queue's head was last stored, hop the least time from there to the next lock of a bot.
	published time.Time
	hop       time.Duration
}

func newCounter(endpoint string) (*counter, error) {
	target, err := url.Parse(endpoint)
	if err != nil || target.Host == "" {
		return nil, fmt.Errorf("the endpoint %q is not an address such as http://127.0.0.1:4566", endpoint)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 100
	transport.DisableCompression = true
	return &counter{counts: map[request]int{}, batches: map[string]map[string]bool{}, proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		Transport: transport,
	}}, nil
}

// noteBytes is as much of a body as is looked at: members such as TableName of single-item requests are within it.
const noteBytes = 1 << 20

var (
	tableName = regexp.MustCompile(`"TableName"\s*:\s*"([^"]+)"`)
	queueKey  = regexp.MustCompile(`"Key"\s*:\s*\{\s*"event"\s*:\s*\{\s*"S"\s*:\s*"([^"]+)"`)
	ownerName = regexp.MustCompile(`"owner"\s*:\s*\{\s*"S"\s*:\s*"([^"]+)"`)
	tableKey  = regexp.MustCompile(`"RequestItems"\s*:\s*\{\s*"([^"]+)"`)
)

// ServeHTTP implements http.Handler.
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var seen []byte
	what := classify(r)
	if what.service == dynamoDB {
		head, err := io.ReadAll(io.LimitReader(r.Body, noteBytes))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		seen = head
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), r.Body), r.Body}
		for _, name := range []*regexp.Regexp{tableName, tableKey} {
			if m := name.FindSubmatch(head); m != nil {
				what.on = string(m[1])
				break
			}
		}
	}
	c.proxy.ServeHTTP(w, r)
	c.count(what, seen)
}

func (c *counter) count(what request, body []byte) {
	now := time.Now()
	if what.operation == "UpdateItem" {
		switch {
		case bytes.Contains(body, []byte(`"max_eid"`)) && bytes.Contains(body, []byte(`"timestamp"`)):
			what.operation = publish
		case bytes.Contains(body, []byte(`"invokeTime"`)):
			what.operation = lock
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
	switch what.service {
	case dynamoDB, kinesis, s3, lambdas:
		c.last = now
	}
	switch {
	case what.operation == publish:
		c.published = now
		queue, owner := queueKey.FindSubmatch(body), ownerName.FindSubmatch(body)
		if queue != nil && owner != nil {
			if c.batches[string(owner[1])] == nil {
				c.batches[string(owner[1])] = map[string]bool{}
			}
			c.batches[string(owner[1])][string(queue[1])] = true
		}
	case what.operation == lock && !c.published.IsZero():
		if d := now.Sub(c.published); c.hop == 0 || d < c.hop {
			c.hop = d
		}
	}
}

// UpdateItems that are told apart: that of a queue's head, and the lock of a bot.
const (
	publish = "UpdateItem (publish)"
	lock    = "UpdateItem (lock)"
)

// take returns what was counted since the last call: requests, the queues that each batch published, and the least time from a
// publication to a lock.
func (c *counter) take() (counts map[request]int, batches map[string]map[string]bool, hop time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts, batches, hop = c.counts, c.batches, c.hop
	c.counts, c.batches, c.hop, c.published = map[request]int{}, map[string]map[string]bool{}, 0, time.Time{}
	return counts, batches, hop
}

// quiet returns for how long the bus has sent nothing.
func (c *counter) quiet() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.last)
}

// classify names the service and the operation of a request: by the target that JSON protocols name, else by the path.
func classify(r *http.Request) request {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		prefix, operation, _ := strings.Cut(target, ".")
		service, _, _ := strings.Cut(prefix, "_")
		return request{service: service, operation: operation}
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(path) > 1 && path[0] == "2015-03-31" {
		if path[len(path)-1] == "invocations" {
			return request{service: lambdas, operation: "Invoke"}
		}
		return request{service: "Lambda control", operation: r.Method + " " + path[1]}
	}
	// Requests of the other services are signed for them; S3's are what is left.
	if scope := r.Header.Get("Authorization"); !strings.Contains(scope, "/s3/") {
		_, scope, _ = strings.Cut(scope, "Credential=")
		if parts := strings.Split(scope, "/"); len(parts) > 3 {
			return request{service: parts[3], operation: r.Method}
		}
		return request{service: "other", operation: r.Method}
	}
	operation := r.Method
	switch q := r.URL.Query(); {
	case len(path) < 2:
		operation += " bucket"
	case q.Has("uploads"), q.Has("uploadId"):
		operation += " multipart"
	case r.Header.Get("Range") != "":
		operation += " range"
	}
	return request{service: s3, operation: operation}
}
