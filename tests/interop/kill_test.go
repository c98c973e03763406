//go:build aws

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// jobVariable makes this test binary a program that copies events until it is killed.
const jobVariable = "RSTREAMS_INTEROP_JOB"

// job is what such a program does.
type job struct {
	Resources awsbus.Resources
	Bot       string
	From, To  string
	Limit     int
	// DieAfter is the event at which it kills itself.
	DieAfter int
	// DieAtAck, if not 0, is the chunk of results at whose acknowledgement it kills itself instead.
	DieAtAck int
}

// TestMain runs the tests, or the job.
func TestMain(m *testing.M) {
	if text := os.Getenv(jobVariable); text != "" {
		os.Exit(work(text))
	}
	os.Exit(m.Run())
}

func work(text string) int {
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.run(context.Background())
	}
	fmt.Fprintln(os.Stderr, "the job ended by itself:", err)
	return 1
}

func (j job) run(ctx context.Context) error {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	bus, err := awsbus.Open(ctx, awsbus.Options{Resources: j.Resources, Endpoint: os.Getenv(awstest.EndpointVariable)})
	if err != nil {
		return err
	}
	count, acks := 0, 0
	_, err = rstreams.New(bus.Store(), rstreams.Options{}).Enrich(ctx, rstreams.EnrichOptions{
		Bot: j.Bot, From: []string{j.From}, To: j.To, Read: rstreams.ReadOptions{Limit: int64(j.Limit)},
		Write: rstreams.WriterOptions{Chunk: rstreams.ChunkOptions{Records: 3}, OnAck: func(rstreams.Receipt, error) {
			if acks++; acks == j.DieAtAck {
				_ = self.Kill()
				select {} // Nothing is done after the kill.
			}
		}},
		CheckpointEvery: time.Millisecond, // So that it may die at any point between results and checkpoints.
	}, func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
		if count++; count == j.DieAfter {
			if err := self.Kill(); err != nil {
				return rstreams.Result{}, err
			}
			<-ctx.Done()
		}
		return copyEvent(ctx, e)
	})
	return err
}

// killed runs a job to its violent end.
func (w *world) killed(j job) {
	w.Helper()
	j.Resources = w.bus.Resources()
	text, err := json.Marshal(j)
	w.ok(err)
	program, err := os.Executable()
	w.ok(err)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.Exited() {
		w.Errorf("the job was not killed: %v\n%s", err, out)
	}
}
