//go:build aws

package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
)

// node is a process with the Node SDK (node/driver.js). Its SDK keeps state for the whole process, so each row has its own.
type node struct {
	in      io.WriteCloser
	out     *bufio.Reader
	stderr  *tail
	process *os.Process
}

// node returns the row's Node process.
func (w *world) node() *node {
	w.Helper()
	if w.started != nil {
		return w.started
	}
	config, err := json.Marshal(w.bus.Resources())
	w.ok(err)
	cmd := exec.Command("node", "driver.js")
	cmd.Dir = "node"
	cmd.Env = append(os.Environ(), "INTEROP_ENDPOINT="+awstest.Endpoint(w), "RSTREAMS_CONFIG="+string(config), "TZ=UTC",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION="+w.bus.Resources().Region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE=1")
	p := &node{stderr: &tail{}}
	cmd.Stderr = p.stderr
	p.in, err = cmd.StdinPipe()
	w.ok(err)
	out, err := cmd.StdoutPipe()
	w.ok(err)
	p.out = bufio.NewReaderSize(out, 1<<20)
	w.ok(cmd.Start())
	p.process = cmd.Process
	w.Cleanup(func() {
		_ = p.in.Close() // The process ends when its input does.
		if err := cmd.Wait(); err != nil && !w.mayDie {
			w.Logf("node: %v", err)
		}
	})
	w.started = p
	return p
}

// errDied reports a Node process that was killed on purpose.
var errDied = errors.New("node was killed")

// command has the Node SDK do something and decodes its answer into result, unless that is nil.
func (w *world) command(op string, args map[string]any, result any) error {
	w.Helper()
	p := w.node()
	full := map[string]any{"op": op}
	for k, v := range args {
		full[k] = v
	}
	text, err := json.Marshal(full)
	w.ok(err)
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		w.Fatalf("node: %v\n%s", err, p.stderr)
	}
	// A command that hangs, as some of the SDK's faults do, must not hold up the rest.
	guard := time.AfterFunc(max(patience, w.slow), func() { _ = p.process.Kill() })
	line, err := p.out.ReadBytes('\n')
	guard.Stop()
	if err != nil && w.mayDie {
		return errDied
	}
	if err != nil {
		w.Fatalf("node ended at %s: %v\n%s", op, err, p.stderr)
	}
	var answer struct {
		OK    json.RawMessage
		Error *string
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		w.Fatalf("node answered %.300q: %v", line, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("node %s: %s", op, *answer.Error)
	}
	if result == nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(answer.OK))
	dec.UseNumber()
	return dec.Decode(result)
}

// do is command for what must succeed.
func (w *world) do(op string, args map[string]any, result any) {
	w.Helper()
	if err := w.command(op, args, result); err != nil {
		w.Fatalf("%v\n%s", err, w.started.stderr)
	}
}

// nodeWrite writes n events {"n": from}, … with the Node SDK.
func (w *world) nodeWrite(bot, queue string, from, count, pad int, opts map[string]any) {
	w.Helper()
	w.do("generate", map[string]any{"bot": bot, "queue": queue, "from": from, "count": count, "pad": pad, "opts": opts}, nil)
}

// nodeRead reads with the Node SDK.
func (w *world) nodeRead(queue string, opts map[string]any) []place {
	w.Helper()
	return w.nodeReadAs(w.name("node-reader"), queue, opts)
}

func (w *world) nodeReadAs(bot, queue string, opts map[string]any) []place {
	w.Helper()
	var raw [][2]any
	w.do("read", map[string]any{"bot": bot, "queue": queue, "opts": opts, "brief": true}, &raw)
	out := make([]place, len(raw))
	for i, r := range raw {
		out[i].EID, _ = r[0].(string)
		out[i].N = -1
		if num, ok := r[1].(json.Number); ok {
			v, _ := num.Int64()
			out[i].N = int(v)
		}
	}
	return out
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - 4096; extra > 0 {
		t.text = t.text[extra:]
	}
	return len(p), nil
}

// String returns the last lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
