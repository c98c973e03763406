package rstreamscdk

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/loader"
	botmonitor "github.com/rstreams-go/rstreams/bus/monitor"
	"github.com/rstreams-go/rstreams/bus/registry"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// No emulator asks for rights. So the work of each function is done here against one, every request that it sends is looked at,
// and the role that the function has in the template must permit it.

// asked is a request: what it does, on what, and with which hash keys.
type asked struct {
	action, on string
	keys       []string
}

// recorder sees the requests of one function. Names of the emulator's bus are replaced by those in the configuration.
type recorder struct {
	next      http.RoundTripper
	resources awsbus.Resources
	mu        sync.Mutex
	requests  map[string]asked
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil && req.Header.Get("X-Amz-Target") != "" {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	for _, a := range r.read(req, body) {
		r.mu.Lock()
		r.requests[fmt.Sprint(a)] = a
		r.mu.Unlock()
	}
	return r.next.RoundTrip(req)
}

// read tells what a request asks for.
func (r *recorder) read(req *http.Request, body []byte) []asked {
	target := req.Header.Get("X-Amz-Target")
	service, op, _ := strings.Cut(target, ".")
	switch {
	case strings.HasPrefix(service, "DynamoDB_"):
		return r.dynamo(op, body)
	case strings.HasPrefix(service, "Kinesis_"):
		return []asked{{action: "kinesis:" + op, on: "stream/LeoKinesisStream"}}
	case strings.HasPrefix(service, "Firehose_"):
		return []asked{{action: "firehose:" + op, on: "deliverystream/LeoFirehoseStream"}}
	case target != "":
		return []asked{{action: target}}
	case strings.Contains(req.URL.Path, "/functions/"):
		return []asked{{action: "lambda:InvokeFunction", on: strings.Split(req.URL.Path, "/")[3]}}
	}
	return r.s3(req)
}

func (r *recorder) dynamo(op string, body []byte) []asked {
	var in struct {
		TableName                 string
		Key, Item                 map[string]struct{ S string }
		KeyConditionExpression    string
		ExpressionAttributeValues map[string]struct{ S string }
		RequestItems              map[string]json.RawMessage
		Statements                []struct{ Statement string }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return []asked{{action: "dynamodb:" + op, on: err.Error()}}
	}
	on := func(table string) string {
		for name, of := range map[string]string{
			"LeoStream": r.resources.LeoStream, "LeoEvent": r.resources.LeoEvent, "LeoCron": r.resources.LeoCron,
			"LeoSettings": r.resources.LeoSettings, "LeoSystem": r.resources.LeoSystem,
		} {
			if of == table {
				return "table/" + name
			}
		}
		return table
	}
	a := asked{action: "dynamodb:" + op, on: on(in.TableName)}
	for _, item := range []map[string]struct{ S string }{in.Key, in.Item} {
		for _, name := range []string{"id", "event"} {
			if v, ok := item[name]; ok {
				a.keys = append(a.keys, v.S)
			}
		}
	}
	if m := regexp.MustCompile(`[#\w]+ ?= ?(:\w+)`).FindStringSubmatch(in.KeyConditionExpression); m != nil {
		a.keys = append(a.keys, in.ExpressionAttributeValues[m[1]].S)
	}
	var out []asked
	for _, s := range in.Statements {
		verb, rest, _ := strings.Cut(s.Statement, ` "`)
		table, _, _ := strings.Cut(rest, `"`)
		out = append(out, asked{action: "dynamodb:PartiQL" + verb[:1] + strings.ToLower(verb[1:]), on: on(table)})
	}
	if out != nil {
		return out
	}
	if in.RequestItems == nil {
		return []asked{a}
	}
	for table, text := range in.RequestItems {
		a := asked{action: a.action, on: on(table)}
		var reads struct {
			Keys []map[string]struct{ S string }
		}
		if json.Unmarshal(text, &reads) == nil { // Writes are a list.
			for _, key := range reads.Keys {
				a.keys = append(a.keys, key["id"].S+key["event"].S) // It has one of them.
			}
		}
		out = append(out, a)
	}
	return out
}

func (r *recorder) s3(req *http.Request) []asked {
	_, key, _ := strings.Cut(strings.TrimPrefix(req.URL.EscapedPath(), "/"), "/")
	key, _ = url.PathUnescape(key)
	q := req.URL.Query()
	object := "object/" + key
	switch {
	case key == "" && q.Has("delete"):
		return []asked{{action: "s3:DeleteObject", on: "object/firehose/x"}} // The loader deletes nothing else.
	case key == "":
		return []asked{{action: "s3:ListBucket", on: "bucket"}}
	case req.Method == http.MethodGet, req.Method == http.MethodHead:
		// Without the right to list, a missing object would be a refusal, and its pointer would block whoever meets it.
		return []asked{{action: "s3:GetObject", on: object}, {action: "s3:ListBucket", on: "bucket"}}
	case req.Method == http.MethodDelete && q.Has("uploadId"):
		return []asked{{action: "s3:AbortMultipartUpload", on: object}}
	case req.Method == http.MethodDelete:
		return []asked{{action: "s3:DeleteObject", on: object}}
	}
	return []asked{{action: "s3:PutObject", on: object}}
}

// permitted tells whether statements permit a request: one allows it, and none refuses it.
func permitted(granted []statement, a asked) bool {
	says := func(effect string) bool {
		return slices.ContainsFunc(granted, func(s statement) bool { return s.Effect == effect && s.permits(a) })
	}
	return says("Allow") && !says("Deny")
}

// permits tells whether a statement of a policy is about a request: whether it permits, or refuses, it.
func (s statement) permits(a asked) bool {
	if !slices.Contains(list(s.Action), any(a.action)) {
		return false
	}
	for operator, keys := range s.Condition {
		patterns := list(keys["dynamodb:LeadingKeys"])
		switch operator {
		case "Null":
			if len(a.keys) == 0 {
				return false
			}
		case "ForAllValues:StringEquals", "ForAllValues:StringLike":
			for _, k := range a.keys {
				if !slices.ContainsFunc(patterns, func(p any) bool { return matches(p.(string), k) }) {
					return false
				}
			}
		case "ForAllValues:StringNotLike":
			for _, k := range a.keys {
				if slices.ContainsFunc(patterns, func(p any) bool { return matches(p.(string), k) }) {
					return false
				}
			}
		}
	}
	return slices.ContainsFunc(list(s.Resource), func(r any) bool { return covers(arnOf(r), a.on) })
}

// arnOf renders an ARN, with the logical ids and exported names of resources.
func arnOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		if parts, ok := at(v, "Fn::Join", 1).([]any); ok {
			sep, _ := at(v, "Fn::Join", 0).(string)
			texts := make([]string, len(parts))
			for i, p := range parts {
				texts[i] = arnOf(p)
			}
			return strings.Join(texts, sep)
		}
		if name, ok := v["Ref"].(string); ok {
			return name
		}
		if name, ok := v["Fn::ImportValue"].(string); ok {
			return name[strings.LastIndex(name, "-")+1:]
		}
		if parts, ok := v["Fn::GetAtt"].([]any); ok {
			return fmt.Sprint(parts[0])
		}
	}
	return "?"
}

func covers(arn, on string) bool {
	if key, ok := strings.CutPrefix(on, "object/"); ok {
		_, path, _ := strings.Cut(arn, ":s3:::")
		_, pattern, found := strings.Cut(path, "/")
		return found && matches(pattern, key)
	}
	if on == "bucket" {
		return strings.Contains(arn, ":s3:::") && !strings.Contains(arn, "/")
	}
	name := on[strings.Index(on, "/")+1:]
	return strings.HasSuffix(arn, on) || strings.HasSuffix(arn, "/"+name) || arn == name ||
		strings.Contains(arn, ":deliverystream/") && strings.HasPrefix(on, "deliverystream/")
}

// rights are the statements of a role in a golden template, which needs no Node.js.
func rights(t *testing.T, file, owner string) (out []statement) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file+".template.json"))
	if err != nil {
		t.Fatal(err)
	}
	tpl := &template{}
	if err := json.Unmarshal(raw, tpl); err != nil {
		t.Fatal(err)
	}
	for _, s := range tpl.statements(t) {
		if strings.HasPrefix(s.owner, owner) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no statements of %s", file, owner)
	}
	return out
}

// enforced is a bus on the emulator whose users are watched.
type enforced struct {
	t       *testing.T
	options *awsbus.Options
	plain   store.Store
}

// as does a function's work with the rights of a role.
func (e *enforced) as(file, role string, unused []string, work func(t *testing.T, b *awsbus.Bus, st store.Store)) {
	e.t.Run(role, func(t *testing.T) {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		r := &recorder{next: transport, resources: e.options.Resources, requests: map[string]asked{}}
		o := *e.options
		o.HTTPClient, o.Logger = &http.Client{Transport: r}, slog.New(slog.DiscardHandler)
		b, err := awsbus.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		work(t, b, b.Store())
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		granted := rights(t, file, role)
		if len(r.requests) == 0 {
			t.Error("it asked for nothing")
		}
		actions := map[string]bool{}
		for _, a := range r.requests {
			actions[a.action] = true
			if !permitted(granted, a) {
				t.Errorf("it may not %s on %s, keys %q", a.action, a.on, a.keys)
			}
		}
		for _, action := range unused {
			if !actions[action] {
				t.Errorf("the test does not show that it needs %s", action)
			}
		}
	})
}

func TestEveryFunctionMayDoWhatItDoes(t *testing.T) {
	e := &enforced{t: t, options: awstest.New(t)}
	plain, err := awsbus.Open(t.Context(), *e.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close(context.Background()) })
	e.plain = plain.Store()
	quiet := slog.New(slog.DiscardHandler)
	bucket := e.options.Resources.LeoS3
	ok := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sequencing := sequencer.Config{Bucket: bucket, CheckBlobs: true, Logger: quiet, Lease: 20 * time.Second}
	const dev, orders = "rstreams-dev", "rstreams-dev-orders"

	e.as(dev, "BusRegisterRole", []string{"dynamodb:DeleteItem", "s3:PutObject"}, func(t *testing.T, _ *awsbus.Bus, st store.Store) {
		set := func(text string) *registry.Set {
			var s registry.Set
			ok(t, json.Unmarshal([]byte(text), &s.Properties))
			return &s
		}
		all := set(`{"orders-mail":{"triggers":["orders.priced"],"paused":false,"lambdaName":"none"},"orders-price":{"triggers":["orders"],"paused":false},
			"s":{"LeoRegisterType":"system","a":{"b":1}},
			"schemas":{"queue":"orders","schemas":{"1.0.0":{"definitionsSchema":{},"versionSchema":{"type":"object"}}}}}`)
		less := set(`{"orders-price":{"triggers":["orders"]}}`)
		for _, change := range [][2]*registry.Set{{all, nil}, {less, all}, {all, less}} {
			_, err := registry.New(st, nil).Apply(t.Context(), "r", change[0], change[1])
			ok(t, err)
		}
	})

	// Whatever the bus's programs write.
	botWork := func(id, from, to string) func(t *testing.T, b *awsbus.Bus, st store.Store) {
		return func(t *testing.T, b *awsbus.Bus, st store.Store) {
			st.Feed = nil // As in Lambda.
			ok(t, b.Check(t.Context()))
			fn, err := bot.NewLambda(rstreams.New(st, rstreams.Options{Logger: quiet}), bot.LambdaConfig{Lines: io.Discard, Runner: bot.RunnerConfig{Logger: quiet}}, bot.Bot{
				ID: id, LambdaFails: true, Run: func(ctx context.Context, run *bot.Run) error {
					for _, path := range []rstreams.Path{rstreams.PathIntake, rstreams.PathBlobs, rstreams.PathFirehose, rstreams.PathFirehoseGzip} {
						w, err := run.Bus.NewWriter(rstreams.WriterOptions{Queue: to, Path: path})
						if err != nil {
							return err
						}
						_, perr := w.Put(ctx, "small")
						_, berr := w.Put(ctx, strings.Repeat("large ", 200_000))
						if err := errors.Join(perr, berr, w.Close(ctx)); err != nil {
							return err
						}
					}
					_, serr := run.Bus.WriteSnapshot(ctx, rstreams.SnapshotOptions{Queue: to}, func(ctx context.Context, w *rstreams.Writer) error {
						_, err := w.Put(ctx, 1)
						return err
					})
					_, oerr := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{from}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}},
						func(context.Context, rstreams.Event) error { return nil })
					_, _, lerr := st.Blobs.Put(ctx, "files/large", bytes.NewReader(make([]byte, 9<<20)))
					perr := st.Settings.Put(ctx, "of_"+id, json.RawMessage(`1`))
					_, yerr := st.Systems.Get(ctx, "s")
					merr := st.Systems.Merge(ctx, store.System{ID: "t", Doc: json.RawMessage(`{"a":1}`)})
					return errors.Join(serr, oerr, lerr, perr, yerr, merr)
				},
			})
			ok(t, err)
			row, err := e.plain.Bots.Get(t.Context(), id)
			if errors.Is(err, store.ErrNotFound) {
				ok(t, e.plain.Bots.Register(t.Context(), store.Registration{ID: id, Triggers: []string{from}}))
				row, err = e.plain.Bots.Get(t.Context(), id)
			}
			ok(t, err)
			lock := dispatch.LockFor(row, time.Now())
			ok(t, e.plain.Bots.Lock(t.Context(), lock))
			payload, err := dispatch.Payload(row, lock.At)
			ok(t, err)
			for i, invocation := range []string{string(payload), string(payload), fmt.Sprintf(`{"botId":%q}`, id)} {
				ctx, cancel := context.WithTimeout(lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: fmt.Sprint("r", i)}), time.Minute)
				answer, err := fn.Invoke(ctx, []byte(invocation))
				cancel()
				if err != nil || (string(answer) == "null") != (i != 1) {
					t.Errorf("%.60s: %s, %v", invocation, answer, err)
				}
			}
		}
	}
	// Something to read for them.
	seq := sequencer.New(e.plain, sequencing)
	stop := awstest.Pump(t, plain, seq)
	w, err := rstreams.New(e.plain, rstreams.Options{Logger: quiet}).NewWriter(rstreams.WriterOptions{Bot: "orders-price", Queue: "orders"})
	ok(t, err)
	for _, queue := range []string{"orders", "orders.priced", "other"} {
		for _, payload := range []string{"small", strings.Repeat("large ", 200_000)} {
			_, err = w.PutTo(t.Context(), queue, payload)
			ok(t, err)
		}
	}
	ok(t, w.Close(t.Context()))
	for _, queue := range []string{"orders", "orders.priced", "other"} {
		for {
			q, err := e.plain.Queues.Get(t.Context(), queue)
			if err == nil && q.Head != "" {
				break
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-t.Context().Done():
				t.Fatal("the events do not come")
			}
		}
	}
	stop()

	work := []string{"kinesis:PutRecords", "firehose:PutRecordBatch", "s3:GetObject", "s3:PutObject", "dynamodb:DeleteItem", "dynamodb:Query"}
	e.as(dev, "LeoBotPolicy", work, botWork("any", "other", "anything"))
	e.as(dev, "BusBusApiRole", work, botWork("any2", "other", "anything"))
	e.as(orders, "Botsordersprice", work, botWork("orders-price", "orders", "orders.priced"))
	e.as(orders, "Botsordersmail", work, botWork("orders-mail", "orders.priced", "mails"))
	e.as("rstreams-prod", "BusReplicatorRole", work, botWork("copier", "other", "copies"))

	e.as(dev, "LeoReadPolicy", []string{"dynamodb:Query", "s3:GetObject"}, func(t *testing.T, b *awsbus.Bus, st store.Store) {
		ok(t, b.Check(t.Context()))
		n := 0
		for _, err := range rstreams.New(st, rstreams.Options{Logger: quiet}).Read(t.Context(), "other", rstreams.ReadOptions{From: rstreams.Earliest()}) {
			ok(t, err)
			n++
		}
		if n != 2 {
			t.Errorf("%d events", n)
		}
		// leo-sdk asks for the bot's row and the queue's in one request before it reads.
		_, err := st.Bots.Get(t.Context(), "any")
		ok(t, err)
	})
	e.as(dev, "LeoWritePolicy", []string{"kinesis:PutRecords", "firehose:PutRecordBatch", "s3:PutObject"}, func(t *testing.T, b *awsbus.Bus, st store.Store) {
		ok(t, b.Check(t.Context()))
		for _, path := range []rstreams.Path{rstreams.PathIntake, rstreams.PathBlobs, rstreams.PathFirehose} {
			w, err := rstreams.New(st, rstreams.Options{Logger: quiet}).NewWriter(rstreams.WriterOptions{Bot: "cron", Queue: "anything", Path: path})
			ok(t, err)
			_, err = w.Put(t.Context(), strings.Repeat("large ", 200_000))
			ok(t, errors.Join(err, w.Close(t.Context())))
		}
	})

	e.as(dev, "BusKinesisProcessorRole", []string{"s3:GetObject", "s3:PutObject", "dynamodb:BatchWriteItem", "dynamodb:PartiQLUpdate"}, func(t *testing.T, _ *awsbus.Bus, st store.Store) {
		// All that the bots above wrote, and what cannot be an event.
		noise := make([]byte, 400_000)
		_, _ = rand.Read(noise) // It never fails.
		_, err := e.plain.Intake.Put(t.Context(), []store.Record{
			{PartitionKey: "0", HashKey: "0", Data: []byte("rubbish")},
			{PartitionKey: "0", HashKey: "0", Data: []byte(`{"id":"b","event":"q2","payload":"` + hex.EncodeToString(noise) + `"}` + "\n")},
			{PartitionKey: "0", HashKey: "0", Data: []byte(`{"event":"q3","s3":{"bucket":"` + bucket + `","key":"bus/missing.gz"},"records":1,"offsets":[],"gzipSize":9,"size":9}` + "\n")},
		})
		ok(t, err)
		done := awstest.Pump(t, plain, sequencer.New(st, sequencing))
		defer done()
		for {
			q, err := e.plain.Queues.Get(t.Context(), "q2")
			if err == nil && q.Head != "" {
				return
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-t.Context().Done():
				t.Fatal("the events do not come")
			}
		}
	})
	e.as(dev, "BusFirehoseLoaderRole", []string{"s3:DeleteObject", "s3:PutObject", "s3:GetObject", "s3:ListBucket", "dynamodb:DeleteItem"}, func(t *testing.T, _ *awsbus.Bus, st store.Store) {
		for key, text := range map[string]string{
			"a": `{"id":"b","event":"q4","payload":1}` + "\n", "b": "rubbish\n", "c": "H4sIAAAAAAAA\n" + strings.Repeat("y", 30<<20),
		} {
			_, _, err := e.plain.Blobs.Put(t.Context(), "firehose/2026/11/21/00/"+key, strings.NewReader(text))
			ok(t, err)
		}
		_, err := loader.New(st, loader.Config{Bucket: bucket, Owner: "o", Sequencer: sequencing, Logger: quiet}).Load(t.Context())
		ok(t, err)
	})
	e.as(dev, "BusArchiverRole", []string{"s3:GetObject", "s3:PutObject", "dynamodb:Scan", "dynamodb:Query", "dynamodb:DeleteItem"}, func(t *testing.T, _ *awsbus.Bus, st store.Store) {
		later := func() time.Time { return time.Now().Add(2 * time.Hour) }
		sequencing := sequencing
		sequencing.Now = later
		res, err := archive.New(st, archive.Config{Owner: "o", Sequencer: sequencing, Logger: quiet, Now: later}).Run(t.Context())
		ok(t, err)
		if res.Events == 0 {
			t.Error("nothing was archived")
		}
	})
	e.as(dev, "BusMonitorRole", []string{"kinesis:PutRecords"}, func(t *testing.T, _ *awsbus.Bus, st store.Store) {
		events := []event.Event{{Bot: "leo_cron_monitor", Queue: "monitor", Payload: json.RawMessage(`1`)}}
		ok(t, botmonitor.Write(t.Context(), st.Intake, events, "0", time.Now()))
	})
	invoked := func(context.Context, store.Bot, []byte) error { return nil }
	head := func(t *testing.T, queue string) dispatch.Head {
		q, err := e.plain.Queues.Get(t.Context(), queue)
		ok(t, err)
		return dispatch.Head{ID: q.Head, At: time.Now().UnixMilli()}
	}
	once := func(st store.Store) *dispatch.Once {
		return dispatch.NewOnce(st, invokerFunc(invoked), dispatch.OnceConfig{Logger: quiet})
	}
	e.as(dev, "BusEventTriggerRole", []string{"dynamodb:Scan", "dynamodb:UpdateItem"}, func(t *testing.T, _ *awsbus.Bus, st store.Store) {
		o := once(st)
		for range 2 { // The second finds the table of triggers of the first.
			report, err := o.Moved(t.Context(), map[string]dispatch.Head{"orders": head(t, "orders"), "orders.priced": head(t, "orders.priced")})
			ok(t, err)
			if report.Bots == 0 {
				t.Errorf("%+v", report)
			}
		}
	})
	e.as(dev, "BusBotRunnerRole", []string{"dynamodb:GetItem", "dynamodb:UpdateItem"}, func(t *testing.T, _ *awsbus.Bus, st store.Store) {
		ok(t, e.plain.Bots.Register(t.Context(), store.Registration{ID: "fresh", Triggers: []string{"other"}, Invocation: store.Invocation{Type: "lambda", Lambda: "f"}}))
		row, err := e.plain.Bots.Get(t.Context(), "fresh")
		ok(t, err)
		report, err := once(st).Rows(t.Context(), []dispatch.RowChange{{New: row}})
		ok(t, err)
		if report.Started != 1 {
			t.Errorf("%+v", report)
		}
	})
	e.as(dev, "BusSchedulerRole", []string{"dynamodb:Scan", "dynamodb:UpdateItem"}, func(t *testing.T, _ *awsbus.Bus, st store.Store) {
		ok(t, e.plain.Bots.Register(t.Context(), store.Registration{ID: "due", Triggers: []string{"other"}, Invocation: store.Invocation{Type: "lambda", Lambda: "f"}}))
		o := once(st)
		for range 2 { // The second finds the tick of the first.
			_, _, err := o.Sweep(t.Context(), 0)
			ok(t, err)
		}
		_, err := o.At(t.Context(), map[string]time.Time{"due": time.Now()}, time.Second)
		ok(t, err)
	})
}

// invokerFunc starts bots.
type invokerFunc func(ctx context.Context, b store.Bot, payload []byte) error

func (f invokerFunc) Invoke(ctx context.Context, b store.Bot, payload []byte) error {
	return f(ctx, b, payload)
}
