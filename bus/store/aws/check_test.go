package aws

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

// bus answers as a bus does that is all there.
func healthy(c call) reply {
	var in struct{ TableName string }
	_ = json.Unmarshal([]byte(c.body), &in) // Not every request is JSON.
	switch c.op {
	case "DescribeTable":
		key := func(name, kind string) map[string]string {
			return map[string]string{"AttributeName": name, "KeyType": kind}
		}
		table := map[string]any{"TableStatus": "ACTIVE", "KeySchema": []any{key("id", "HASH")}}
		switch in.TableName {
		case "t-LeoStream":
			table["KeySchema"] = []any{key("event", "HASH"), key("end", "RANGE")}
		case "t-LeoEvent":
			table["KeySchema"] = []any{key("event", "HASH")}
		}
		table["StreamSpecification"] = map[string]any{"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"}
		return reply{body: map[string]any{"Table": table}}
	case "DescribeStreamSummary":
		return reply{body: `{"StreamDescriptionSummary":{"StreamStatus":"ACTIVE"}}`}
	case "DescribeDeliveryStream":
		return reply{body: `{"DeliveryStreamDescription":{"DeliveryStreamStatus":"ACTIVE"}}`}
	}
	return reply{}
}

func TestCheckIsContentWithAWholeBus(t *testing.T) {
	b, s := openService(t, func(_ int, c call) reply { return healthy(c) })
	if err := b.check(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(s.ops()); n != 8 {
		t.Errorf("%d requests were made", n)
	}
}

func TestCheckNamesEveryPartThatIsMissing(t *testing.T) {
	b, _ := openService(t, func(_ int, c call) reply {
		switch {
		case strings.Contains(c.body, "t-LeoCron"), c.op == "DescribeDeliveryStream":
			return reply{code: "ResourceNotFoundException"}
		case c.op == "DescribeStreamSummary":
			return reply{code: "AccessDeniedException"}
		case strings.HasPrefix(c.op, "HEAD"):
			return reply{status: http.StatusForbidden}
		case strings.Contains(c.body, "t-LeoSettings"):
			return healthy(call{op: c.op, body: `{"TableName":"t-LeoEvent"}`})
		}
		return healthy(c)
	})
	err := b.check(t.Context())
	says(t, err, store.ErrUnavailable, "LeoCron (table t-LeoCron), LeoFirehoseStream (Firehose t-Firehose): not there", "eu-west-1",
		"LeoKinesisStream (stream t-Kinesis)", "LeoS3 (bucket t-leos3)", "permission", "LeoSettings (table t-LeoSettings): its key", "mixed up")
	for _, fine := range []string{"LeoStream ", "LeoEvent ", "LeoSystem"} {
		if strings.Contains(err.Error(), fine) {
			t.Errorf("%q names %s, which is there", err, fine)
		}
	}
}

func TestCheckSaysOnceWhatIsWrongWithEverything(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	err := openAt(t, closed.URL).check(t.Context())
	says(t, err, store.ErrUnavailable, "every part", closed.URL)
	if n := len(err.Error()); n > 300 {
		t.Errorf("%d characters: %v", n, err)
	}
	b, _ := openService(t, func(int, call) reply { return reply{code: "UnrecognizedClientException"} })
	says(t, b.check(t.Context()), store.ErrUnavailable, "credentials")
}

func TestCheckWantsTheStreamsThatTriggerBots(t *testing.T) {
	b, _ := openService(t, func(_ int, c call) reply {
		r := healthy(c)
		if strings.Contains(c.body, "t-LeoEvent") {
			delete(r.body.(map[string]any)["Table"].(map[string]any), "StreamSpecification")
		}
		return r
	})
	says(t, b.check(t.Context()), store.ErrUnavailable, "LeoEvent (table t-LeoEvent): it has no stream")
}
