package aws

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// call is a request to a service: its operation ("PutRecords", or "GET /bucket/key?query") and its body.
type call struct {
	op, body string
	request  *http.Request
}

// reply is what a service answers. A zero status is 200; lost breaks the connection instead.
type reply struct {
	status int
	code   string // of an error
	body   any    // a string, or what becomes JSON
	header map[string]string
	lost   bool
}

// service plays AWS: it answers with what answer returns and keeps the calls.
type service struct {
	mu    sync.Mutex
	calls []call
	url   string
}

func (s *service) ops() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, len(s.calls))
	for i, c := range s.calls {
		out[i] = c.op
	}
	return out
}

// testResources name a bus.
func testResources() Resources {
	return Resources{
		Region: "eu-west-1", LeoStream: "t-LeoStream", LeoCron: "t-LeoCron", LeoEvent: "t-LeoEvent", LeoSettings: "t-LeoSettings",
		LeoSystem: "t-LeoSystem", LeoS3: "t-leos3", LeoKinesisStream: "t-Kinesis", LeoFirehoseStream: "t-Firehose",
	}
}

// openService opens a bus on a service. The nth call, from 0, gets what answer returns.
func openService(t *testing.T, answer func(n int, c call) reply) (*Bus, *service) {
	t.Helper()
	s := &service{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // The client gave up.
		}
		c := call{op: r.Method + " " + r.URL.RequestURI(), body: string(body), request: r}
		if target := r.Header.Get("X-Amz-Target"); target != "" {
			c.op = target[strings.LastIndexByte(target, '.')+1:]
		}
		s.mu.Lock()
		n := len(s.calls)
		s.calls = append(s.calls, c)
		s.mu.Unlock()
		respond(w, answer(n, c))
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return openAt(t, server.URL), s
}

// openAt opens a bus whose services are all at an address.
func openAt(t *testing.T, url string) *Bus {
	t.Helper()
	b, err := Open(t.Context(), Options{
		Resources: testResources(), Endpoint: url, Budget: 2 * time.Second,
		Config: &awssdk.Config{Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func respond(w http.ResponseWriter, r reply) {
	if r.lost {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return
	}
	var body []byte
	switch b := r.body.(type) {
	case string:
		body = []byte(b)
	case nil:
	default:
		body, _ = json.Marshal(b)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if r.code != "" {
		w.Header().Set("X-Amzn-Errortype", r.code)
		body = []byte(`{"__type":"` + r.code + `","message":"a text\nof two lines"}`)
		if r.header["xml"] != "" {
			body = []byte(`<?xml version="1.0"?><Error><Code>` + r.code + `</Code><Message>text</Message></Error>`)
		}
		if r.status == 0 {
			r.status = http.StatusBadRequest
		}
	}
	for k, v := range r.header {
		w.Header().Set(k, v)
	}
	if r.status == 0 {
		r.status = http.StatusOK
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(body)
}

// says checks that err is of the kind and says, in one line, all that is wanted.
func says(t *testing.T, err, kind error, want ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want %v", err, kind)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
}
