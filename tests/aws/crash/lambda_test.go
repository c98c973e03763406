//go:build aws

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// function plays Lambda for one program: it starts it when it is invoked, keeps it warm, and starts it anew when it has died.
type function struct {
	t       testing.TB
	program string
	env     []string
	api     *http.Server
	address string

	mu      sync.Mutex
	running *exec.Cmd
	dead    chan struct{} // closed when running has ended
	log     *bytes.Buffer // what it wrote
	killed  bool
	starts  int

	next    chan invocation
	answers chan answer
	number  int
}

type invocation struct {
	id       string
	deadline time.Time
	payload  []byte
}

// answer is what the program made of an invocation.
type answer struct {
	id      string
	body    []byte
	failure bool
}

var errDied = errors.New("the process died")

// newFunction serves the runtime API for the program until the test ends.
func newFunction(t testing.TB, program string, env ...string) *function {
	t.Helper()
	f := &function{t: t, program: program, env: env, next: make(chan invocation), answers: make(chan answer, 8)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = listener.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", f.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{kind}", f.serveAnswer)
	f.api = &http.Server{Handler: mux}
	go f.api.Serve(listener) //nolint:errcheck // It ends with Close.
	t.Cleanup(func() {
		f.kill()
		f.api.Close()
	})
	return f
}

func (f *function) serveNext(w http.ResponseWriter, r *http.Request) {
	select {
	case in := <-f.next:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", in.id)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(in.deadline.UnixMilli(), 10))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:kinesis-processor")
		w.Write(in.payload) //nolint:errcheck // A program that died is noticed elsewhere.
	case <-r.Context().Done():
	}
}

func (f *function) serveAnswer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // It died while it answered.
	}
	f.answers <- answer{id: r.PathValue("id"), body: body, failure: r.PathValue("kind") == "error"}
	w.WriteHeader(http.StatusAccepted)
}

// start starts the program if it is not running.
func (f *function) start() (dead <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running != nil {
		return f.dead
	}
	cmd := exec.Command(f.program)
	cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + f.address, "AWS_LAMBDA_FUNCTION_NAME=kinesis-processor", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"_HANDLER=bootstrap", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "GOMEMLIMIT=192MiB",
	}, f.env...)
	f.log = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = f.log, f.log
	if err := cmd.Start(); err != nil {
		f.t.Errorf("start of %s: %v", f.program, err)
	}
	ended := make(chan struct{})
	f.running, f.dead, f.killed = cmd, ended, false
	f.starts++
	go func() {
		cmd.Wait() //nolint:errcheck // It is killed.
		f.mu.Lock()
		f.running = nil
		f.mu.Unlock()
		close(ended)
	}()
	return ended
}

// kill ends the program with SIGKILL and returns when it is gone. It reports whether this call was the one that did it.
func (f *function) kill() bool {
	f.mu.Lock()
	cmd, ended, first := f.running, f.dead, !f.killed
	f.killed = true
	f.mu.Unlock()
	if cmd == nil {
		return false
	}
	cmd.Process.Kill() //nolint:errcheck // It may have ended.
	<-ended
	return first
}

// output returns what the program wrote since it was started. It is complete only once the program has ended.
func (f *function) output() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

// memory returns the most memory that the running program has had, in KiB, 0 where that is not known.
func (f *function) memory(read func(name string) ([]byte, error)) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running == nil {
		return 0
	}
	status, err := read(fmt.Sprintf("/proc/%d/status", f.running.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	fmt.Sscanf(rest, "%d", &kib) //nolint:errcheck // 0 then.
	return kib
}

// invoke runs the function once and returns its answer, or errDied.
func (f *function) invoke(ctx context.Context, payload []byte, timeout time.Duration) ([]byte, error) {
	dead := f.start()
	f.number++
	in := invocation{id: fmt.Sprintf("request-%s-%d", f.address, f.number), deadline: time.Now().Add(timeout), payload: payload}
	late := time.NewTimer(timeout + 5*time.Second)
	defer late.Stop()
	next := f.next
	for {
		select {
		case next <- in:
			next = nil
		case a := <-f.answers:
			if a.id != in.id {
				continue // Of an invocation that was given up.
			}
			if a.failure {
				return nil, fmt.Errorf("function error: %s", a.body)
			}
			return a.body, nil
		case <-dead:
			return nil, errDied
		case <-late.C:
			f.kill()
			return nil, errors.New("the invocation timed out")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
