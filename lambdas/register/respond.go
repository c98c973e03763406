package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rstreams-go/rstreams/bus/registry"
)

// maxReason bounds the reason, in bytes: CloudFormation refuses answers above 4096 bytes, and shows about this much.
const maxReason = 1000

// attempts is how often an answer is sent before Lambda is asked to begin anew.
const attempts = 5

// answer is what CloudFormation takes.
type answer struct {
	Status             string
	Reason             string
	PhysicalResourceID string `json:"PhysicalResourceId"`
	StackID            string `json:"StackId"`
	RequestID          string `json:"RequestId"`
	LogicalResourceID  string `json:"LogicalResourceId"`
	// Data are attributes of the resource.
	Data map[string]any `json:",omitempty"`
}

// respond puts the answer where CloudFormation waits for it. The address is signed for exactly these headers: no content type.
func (h *handler) respond(ctx context.Context, r request, result registry.Result, failure error) error {
	a := answer{
		Status: "SUCCESS", PhysicalResourceID: r.physicalID(failure != nil), StackID: r.StackID, RequestID: r.RequestID,
		LogicalResourceID: r.LogicalResourceID,
		Data:              map[string]any{"Registered": len(result.Registered), "Retired": len(result.Retired)},
	}
	if failure != nil {
		a.Status, a.Reason, a.Data = "FAILED", reason(failure), nil
	}
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		if err = h.put(ctx, r.ResponseURL, body); err == nil {
			return nil
		}
		if attempt == attempts || ctx.Err() != nil {
			return fmt.Errorf("CloudFormation cannot be told that the request ended with %s: %w", a.Status, err)
		}
		h.pause(ctx, attempt)
	}
}

func (h *handler) put(ctx context.Context, url string, body []byte) error {
	// The length is that of the bytes, which a reason may have more of than characters (W-O9).
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return errors.New("ResponseURL is no address")
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var address *neturl.Error
		if errors.As(err, &address) {
			err = address.Err // Who has the address may answer for this stack; it does not belong into logs.
		}
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 500))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return nil
}

func (h *handler) pause(ctx context.Context, attempt int) {
	if h.wait != nil {
		h.wait(ctx, attempt)
		return
	}
	timer := time.NewTimer(time.Duration(attempt*attempt) * 200 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// reason returns the error's text, on one line and not too long.
func reason(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) <= maxReason {
		return text
	}
	cut := maxReason
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
