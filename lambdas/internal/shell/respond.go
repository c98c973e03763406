package shell

import (
	"encoding/json"
	"errors"
	"fmt"
)

// BatchResponse is a function's answer to a batch of a stream. Only Respond makes one: a zero BatchResponse cannot be sent.
//
// Lambda takes an answer without failures, an empty one, and none at all for success; and one that names a failure by an empty or
// unknown id for a failure of everything. So an answer that was put together wrongly would lose records silently.
type BatchResponse struct {
	made   bool
	failed string
}

// errNotMade keeps the zero value, which would mean success, from being sent.
var errNotMade = errors.New("shell: the answer to a batch was not made by Respond")

// MarshalJSON writes the answer in the form of an event source mapping with ReportBatchItemFailures.
func (r BatchResponse) MarshalJSON() ([]byte, error) {
	type item struct {
		ID string `json:"itemIdentifier"`
	}
	var answer struct {
		Failures []item `json:"batchItemFailures"`
	}
	answer.Failures = []item{}
	switch {
	case !r.made:
		return nil, errNotMade
	case r.failed != "":
		answer.Failures = append(answer.Failures, item{r.failed})
	}
	return json.Marshal(answer)
}

// Failed returns the sequence number of the first record that failed, "" for none.
func (r BatchResponse) Failed() string { return r.failed }

// Respond answers a batch: with success if err is nil; else, where the mapping understands that, with first, the sequence number
// of the first record that is to be delivered again, with all after it, and a line in the log; and else with err as that of the
// whole invocation, in which case every record is delivered again. An empty or impossible first gives an error of the invocation too.
func (e *Env) Respond(first string, err error) (BatchResponse, error) {
	if err == nil {
		return BatchResponse{made: true}, nil
	}
	if !e.PartialBatch {
		return BatchResponse{}, err
	}
	if !decimal(first) {
		return BatchResponse{}, fmt.Errorf("%w (the record to go on with is not known: %.60q)", err, first)
	}
	e.Logger.Error("a part of the batch failed and will come again", "from", first, "error", err)
	return BatchResponse{made: true, failed: first}, nil
}

// decimal tells whether s is a sequence number.
func decimal(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
