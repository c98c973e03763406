package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// logs reads the functions' logs from an emulator: each invocation, by whatever it was made, begins with a line of the platform,
// and the bus's functions write their metrics there.
type logs struct{ endpoint string }

// invocations are what a function did in some time.
type invocations struct {
	Count int
	// Metrics are the lines of metrics, at most one for each invocation.
	Metrics []map[string]float64
}

// sum adds up a metric.
func (i invocations) sum(name string) int {
	n := 0.0
	for _, m := range i.Metrics {
		n += m[name]
	}
	return int(n)
}

// having counts the invocations with more than none of any of these metrics.
func (i invocations) having(names ...string) int {
	n := 0
	for _, m := range i.Metrics {
		for _, name := range names {
			if m[name] > 0 {
				n++
				break
			}
		}
	}
	return n
}

// read returns the invocations of the functions of a stack, by the names of their log groups, between two times.
func (l logs) read(ctx context.Context, stack string, from, to time.Time) (map[string]invocations, error) {
	out := map[string]invocations{}
	for token := ""; ; {
		var page struct {
			LogGroups []struct{ LogGroupName string }
			NextToken string
		}
		in := map[string]any{}
		if token != "" {
			in["nextToken"] = token
		}
		if err := l.call(ctx, "DescribeLogGroups", in, &page); err != nil {
			return nil, err
		}
		for _, g := range page.LogGroups {
			if !strings.Contains(g.LogGroupName, stack) {
				continue
			}
			found, err := l.group(ctx, g.LogGroupName, from, to)
			if err != nil {
				return nil, err
			}
			if found.Count > 0 {
				out[g.LogGroupName] = found
			}
		}
		if token = page.NextToken; token == "" {
			return out, nil
		}
	}
}

func (l logs) group(ctx context.Context, name string, from, to time.Time) (invocations, error) {
	var found invocations
	for token := ""; ; {
		var page struct {
			Events    []struct{ Message string }
			NextToken string
		}
		const most = 10_000
		in := map[string]any{
			"logGroupName": name, "startTime": from.UnixMilli(), "endTime": to.UnixMilli(), "limit": most,
		}
		if token != "" {
			in["nextToken"] = token
		}
		if err := l.call(ctx, "FilterLogEvents", in, &page); err != nil {
			return found, err
		}
		for _, e := range page.Events {
			switch {
			case strings.HasPrefix(e.Message, "START RequestId"):
				found.Count++
			case strings.Contains(e.Message, `"_aws"`):
				var line map[string]any
				if err := json.Unmarshal([]byte(e.Message), &line); err != nil {
					return found, fmt.Errorf("a line of metrics in %s: %w", name, err)
				}
				m := map[string]float64{}
				for k, v := range line {
					if f, ok := v.(float64); ok {
						m[k] = f
					}
				}
				found.Metrics = append(found.Metrics, m)
			}
		}
		if token = page.NextToken; token == "" {
			if len(page.Events) == most {
				return found, fmt.Errorf("the log %s has more lines than the emulator returns", name)
			}
			return found, nil
		}
	}
}

func (l logs) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Logs_20140328."+operation)
	// Emulators look at who is asked, not at the signature.
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=0")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the emulator's logs: %s: %s: %.300s", operation, res.Status, text)
	}
	return json.Unmarshal(text, out)
}
