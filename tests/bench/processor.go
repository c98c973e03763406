package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// originalProcessor is the CPU seconds that the original's kinesis_processor takes for a million events, by payload bytes
// (measured with its AWS clients stubbed).
var originalProcessor = map[int]float64{200: 44, 1 << 10: 115}

// processorMemory is the memory of the function, in MB.
const processorMemory = 256

// processor measures the kinesis-processor program itself: it runs under a Lambda Runtime API of the benchmark's own and speaks
// to a DynamoDB that answers at once, so that its CPU time has everything in it, decoding of the invocation, requests and
// signatures included, and nothing of the network.
func processor(payload int) func(ctx context.Context, s size) (figure, error) {
	return func(ctx context.Context, s size) (figure, error) {
		list := payloadsOf(s.Events, payload)
		if payload <= 200 {
			list = payloads(s.Events)
		}
		batches, err := kinesisBatches(ctx, list)
		if err != nil {
			return figure{}, err
		}
		used, err := runProcessor(ctx, batches)
		if err != nil {
			return figure{}, err
		}
		ours := used.cpu.Seconds() * 1e6 / float64(len(list))
		theirs := originalProcessor[payload]
		return figure{
			name:     fmt.Sprintf("kinesis-processor, %d-byte payloads: original / ours", averageSize(list)),
			measured: theirs / ours, target: 8, format: "%.1f",
			note: fmt.Sprintf("CPU-s per million events: original %.0f (as measured once), ours %.2f; peak memory %d MB of %d",
				theirs, ours, used.peak>>20, processorMemory),
		}, nil
	}
}

// maxInvocation is the most bytes of an invocation's payload: what Lambda takes.
const maxInvocation = 6 << 20

// kinesisBatches returns the events of the event source mapping, with records of 100 events as leo-sdk sends them.
func kinesisBatches(ctx context.Context, list []json.RawMessage) ([][]byte, error) {
	in := &capture{keep: true}
	if err := writeChunks(ctx, in, list, rstreams.ChunkOptions{Records: 100}); err != nil {
		return nil, err
	}
	var out [][]byte
	now := float64(time.Now().UnixMilli()) / 1000
	head, tail := []byte(`{"Records":[`), []byte(`]}`)
	text := bytes.Clone(head)
	for i, data := range in.records {
		seq := fmt.Sprintf("495903382714908300000000%010d", i+1)
		record, err := json.Marshal(map[string]any{
			"eventID": "shardId-000000000000:" + seq, "eventSource": "aws:kinesis", "awsRegion": "us-east-1",
			"kinesis": map[string]any{"sequenceNumber": seq, "partitionKey": "0", "approximateArrivalTimestamp": now, "data": data},
		})
		if err != nil {
			return nil, err
		}
		if len(text)+1+len(record)+len(tail) > maxInvocation {
			out, text = append(out, append(text, tail...)), bytes.Clone(head)
		}
		if len(text) > len(head) {
			text = append(text, ',')
		}
		text = append(text, record...)
	}
	return append(out, append(text, tail...)), nil
}

// usage is what a process used.
type usage struct {
	cpu  time.Duration
	peak int64 // resident bytes; 0 where the system does not tell
}

// runProcessor builds the program, gives it the invocations and returns what it used, its start included.
func runProcessor(ctx context.Context, invocations [][]byte) (usage, error) {
	dir, err := os.MkdirTemp("", "rstreams-bench-")
	if err != nil {
		return usage{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "bootstrap")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", program,
		"./lambdas/kinesis-processor")
	if out, err := build.CombinedOutput(); err != nil {
		return usage{}, fmt.Errorf("build the processor: %w: %s", err, out)
	}
	aws, err := serve(http.HandlerFunc(answerAWS))
	if err != nil {
		return usage{}, err
	}
	defer aws.close()
	lambda := &runtimeAPI{invocations: invocations, answers: make(chan answer, 1)}
	api, err := serve(lambda)
	if err != nil {
		return usage{}, err
	}
	defer api.close()

	cmd := exec.CommandContext(ctx, program)
	cmd.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + api.address, "AWS_ENDPOINT_URL=http://" + aws.address, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "AWS_LAMBDA_FUNCTION_NAME=kinesis-processor",
		fmt.Sprintf("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%d", processorMemory), fmt.Sprintf("GOMEMLIMIT=%dMiB", processorMemory*3/4),
		"GOMAXPROCS=1", "RSTREAMS_STACK=bench", "RSTREAMS_PARTIAL_BATCH=false", "RSTREAMS_LOG_LEVEL=error",
		`RSTREAMS_CONFIG={"Region":"us-east-1","LeoStream":"LeoStream","LeoCron":"LeoCron","LeoEvent":"LeoEvent","LeoSettings":"LeoSettings",` +
			`"LeoSystem":"LeoSystem","LeoS3":"leos3","LeoKinesisStream":"stream","LeoFirehoseStream":"firehose"}`,
	}
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	for range invocations {
		var a answer
		select {
		case a = <-lambda.answers:
		case <-ctx.Done():
			a.failed = ctx.Err().Error()
		}
		if a.failed != "" {
			err = errors.Join(err, fmt.Errorf("the processor: %s", a.failed))
			break
		}
	}
	peak := peakMemory(cmd.Process.Pid)
	_ = cmd.Process.Kill() // It waits for its next invocation, as in Lambda.
	_ = cmd.Wait()
	return usage{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: peak}, err
}

// server is an HTTP server on loopback.
type server struct {
	*http.Server
	address string
}

func serve(h http.Handler) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{&http.Server{Handler: h, ReadHeaderTimeout: time.Minute}, l.Addr().String()}
	go func() { _ = s.Serve(l) }() // It ends with close.
	return s, nil
}

func (s *server) close() { _ = s.Close() }

// runtimeAPI hands out invocations one after another (Lambda's Runtime API).
type runtimeAPI struct {
	invocations [][]byte
	next        int
	answers     chan answer
}

type answer struct{ failed string }

func (a *runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/invocation/next"):
		if a.next == len(a.invocations) {
			<-r.Context().Done()
			return
		}
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprintf("request-%d", a.next))
		h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(5*time.Minute).UnixMilli()))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:kinesis-processor")
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(a.invocations[a.next])
		a.next++
	case strings.HasSuffix(r.URL.Path, "/response"):
		w.WriteHeader(http.StatusAccepted)
		a.answers <- answer{}
	default: // an error
		text, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		a.answers <- answer{failed: string(text)}
	}
}

// answerAWS is a DynamoDB in which nothing is stored and every write succeeds.
func answerAWS(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	answer := "{}"
	switch operation {
	case "BatchWriteItem":
		answer = `{"UnprocessedItems":{}}`
	case "Query", "Scan":
		answer = `{"Items":[],"Count":0}`
	}
	w.Header().Set("X-Amz-Crc32", fmt.Sprint(crc32.ChecksumIEEE([]byte(answer))))
	_, _ = io.WriteString(w, answer)
}
