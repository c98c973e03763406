package aws

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

func botOf(i store.Invocation) store.Bot { return store.Bot{ID: "b", Invocation: i} }

// C57: a function of another region or account is asked there.
func TestFunctionsAreInvokedAsynchronouslyWhereTheyAre(t *testing.T) {
	for name, c := range map[string]struct {
		invocation     store.Invocation
		region, target string
	}{
		"a name":   {store.Invocation{Type: "lambda", Lambda: "fn"}, "eu-west-1", "/2015-03-31/functions/fn/invocations"},
		"an alias": {store.Invocation{Type: "lambda", Lambda: "fn", Qualifier: "live"}, "eu-west-1", "/2015-03-31/functions/fn/invocations?Qualifier=live"},
		"an ARN": {store.Invocation{Type: "lambda", Lambda: "arn:aws:lambda:ap-south-1:123456789012:function:fn"}, "ap-south-1",
			"/2015-03-31/functions/arn%3Aaws%3Alambda%3Aap-south-1%3A123456789012%3Afunction%3Afn/invocations"},
		"an ARN of a version": {store.Invocation{Type: "lambda", Lambda: "arn:aws-cn:lambda:cn-north-1:123456789012:function:fn:7"}, "cn-north-1",
			"/2015-03-31/functions/arn%3Aaws-cn%3Alambda%3Acn-north-1%3A123456789012%3Afunction%3Afn%3A7/invocations"},
		"a short ARN": {store.Invocation{Type: "lambda", Lambda: "123456789012:function:fn"}, "eu-west-1",
			"/2015-03-31/functions/123456789012%3Afunction%3Afn/invocations"},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := openService(t, func(int, call) reply { return reply{status: http.StatusAccepted} })
			if err := newInvoker(b).Invoke(t.Context(), botOf(c.invocation), []byte(`{"a":1}`)); err != nil {
				t.Fatal(err)
			}
			got := s.calls[0]
			if got.op != "POST "+c.target || got.body != `{"a":1}` || got.request.Header.Get("X-Amz-Invocation-Type") != "Event" {
				t.Errorf("the request is %s with %q", got.op, got.body)
			}
			if auth := got.request.Header.Get("Authorization"); !strings.Contains(auth, "/"+c.region+"/lambda/") {
				t.Errorf("it is signed as %s", auth)
			}
		})
	}
}

func TestTopicsGetThePayloadAsMessage(t *testing.T) {
	b, s := openService(t, func(int, call) reply {
		return reply{body: `<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`}
	})
	topic := "arn:aws:sns:us-west-2:123456789012:topic"
	if err := newInvoker(b).Invoke(t.Context(), botOf(store.Invocation{Type: "sns", ARN: topic}), []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	form, err := url.ParseQuery(s.calls[0].body)
	if err != nil || form.Get("TopicArn") != topic || form.Get("Message") != `{"a":1}` {
		t.Errorf("the request is %v, %v", form, err)
	}
	if auth := s.calls[0].request.Header.Get("Authorization"); !strings.Contains(auth, "/us-west-2/sns/") {
		t.Errorf("it is signed as %s", auth)
	}
}

// W-P5: what did not begin is an error, so that the dispatcher can take the lock back.
func TestAnInvocationThatIsRefusedIsAnError(t *testing.T) {
	big := make([]byte, 256<<10+1)
	for name, c := range map[string]struct {
		invocation store.Invocation
		payload    []byte
		reply      reply
		kind       error
		want       string
	}{
		"missing":      {store.Invocation{Type: "lambda", Lambda: "fn"}, nil, reply{code: "ResourceNotFoundException", status: 404}, store.ErrNotFound, "fn"},
		"throttled":    {store.Invocation{Type: "lambda", Lambda: "fn"}, nil, reply{code: "TooManyRequestsException", status: 429}, store.ErrThrottled, "fn"},
		"forbidden":    {store.Invocation{Type: "lambda", Lambda: "fn"}, nil, reply{code: "AccessDeniedException", status: 403}, store.ErrUnavailable, "permission"},
		"large":        {store.Invocation{Type: "lambda", Lambda: "fn"}, big, reply{status: 202}, store.ErrTooLarge, "262145"},
		"a large note": {store.Invocation{Type: "sns", ARN: "arn:aws:sns:us-west-2:1:t"}, big, reply{}, store.ErrTooLarge, "262145"},
		"no function":  {store.Invocation{Type: "lambda"}, nil, reply{}, store.ErrInvalid, "no function"},
		"no topic":     {store.Invocation{Type: "sns"}, nil, reply{}, store.ErrInvalid, "no SNS topic"},
		"fargate":      {store.Invocation{Type: "fargate", Lambda: "x"}, nil, reply{}, store.ErrInvalid, "Fargate"},
		"local":        {store.Invocation{Type: "local"}, nil, reply{}, store.ErrInvalid, "process"},
		"nothing":      {store.Invocation{}, nil, reply{}, store.ErrInvalid, "type"},
		"no address":   {store.Invocation{Type: "url", URL: "file:///etc/passwd"}, nil, reply{}, store.ErrInvalid, "http"},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := openService(t, func(int, call) reply { return c.reply })
			says(t, newInvoker(b).Invoke(t.Context(), botOf(c.invocation), c.payload), c.kind, "bot b", c.want)
		})
	}
}

func TestAddressesArePostedToOnce(t *testing.T) {
	var posts int
	statuses := []int{http.StatusAccepted, http.StatusTemporaryRedirect, http.StatusInternalServerError}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts++
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got a %s of %s", r.Method, r.Header.Get("Content-Type"))
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(statuses[posts-1])
	}))
	defer server.Close()
	v := newInvoker(openAt(t, server.URL))
	bot := botOf(store.Invocation{Type: "url", URL: server.URL + "/secret?token=hidden"})
	if err := v.Invoke(t.Context(), bot, []byte("{}")); err != nil {
		t.Error(err)
	}
	for range statuses[1:] {
		err := v.Invoke(t.Context(), bot, []byte("{}"))
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("got error %v", err)
		}
	}
	if posts != len(statuses) {
		t.Errorf("%d posts were made", posts)
	}
	server.Close()
	if err := v.Invoke(t.Context(), bot, []byte("{}")); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got error %v", err)
	}
}

func TestAnAddressThatRunsLongHasBegun(t *testing.T) {
	running, end := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(running)
		<-end
	}))
	defer server.Close()
	defer close(end)
	v := newInvoker(openAt(t, server.URL)).(*invoker)
	v.posts.Timeout = 200 * time.Millisecond
	if err := v.Invoke(t.Context(), botOf(store.Invocation{Type: "url", URL: server.URL}), []byte("{}")); err != nil {
		t.Errorf("got error %v", err)
	}
	<-running
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	says(t, v.Invoke(ctx, botOf(store.Invocation{Type: "url", URL: server.URL}), nil), context.Canceled)
}
