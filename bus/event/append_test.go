package event

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/quick"
	"unicode/utf8"
)

func TestAppendLineWritesWhatTheWireNeeds(t *testing.T) {
	e := Event{
		EID: "z/2024/01/02/03/04/1704164645678-0000001", Bot: "bot \"é\"", Queue: "q", Payload: json.RawMessage(` {"a": "<&>` + "\u2028" + `"} `),
		Timestamp: 1704164645678, SourceTimestamp: 5,
		Correlation: &Correlation{Source: "src", Start: "z/1", End: "z/2", Units: 2, Partial: true, Extra: []Member{{"note", json.RawMessage(`[1, 2]`)}}},
		Units:       3, Extra: []Member{{"cu\nstom", json.RawMessage("{\n\t\"b\": [1,\r\n 2]}")}},
	}
	line, err := AppendLine([]byte("before\n"), &e, 12)
	if err != nil {
		t.Fatal(err)
	}
	const want = "before\n" + `{"id":"bot \"é\"","event":"q","event_source_timestamp":5,"timestamp":1704164645678,` +
		`"correlation_id":{"source":"src","start":"z/1","end":"z/2","units":2,"note":[1, 2]},"units":3,"cu\nstom":{"b":[1,2]},"eid":12,` +
		`"payload":{"a": "<&>` + "\u2028" + `"}}` + "\n"
	if string(line) != want {
		t.Errorf("\n got %q\nwant %q", line, want)
	}
}

func TestAppendLineLeavesOutWhatIsNotSet(t *testing.T) {
	for _, e := range []Event{
		{Bot: "b", Queue: "q", Payload: json.RawMessage("1")},
		{Bot: "b", Queue: "q", Payload: json.RawMessage("1"), EID: "z/1", Extra: []Member{}},
		{Bot: "b", Queue: "q", Payload: json.RawMessage("1"), Extra: []Member{{"id", json.RawMessage(`"x"`)}, {"eid", json.RawMessage(`5`)}, {"payload", nil}}},
	} {
		line, err := AppendLine(nil, &e, -1)
		if err != nil || string(line) != `{"id":"b","event":"q","payload":1}`+"\n" {
			t.Errorf("%q, %v", line, err)
		}
	}
	line, err := AppendLine(nil, &Event{Bot: "b", Queue: "q", Payload: json.RawMessage("1"), Correlation: &Correlation{}}, 0)
	if err != nil || string(line) != `{"id":"b","event":"q","correlation_id":{},"eid":0,"payload":1}`+"\n" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestAppendLineRefusesWhatTheBusWouldDrop(t *testing.T) {
	good := Event{Bot: "b", Queue: "q", Payload: json.RawMessage(`{}`)}
	for name, c := range map[string]struct {
		change func(*Event)
		want   error
	}{
		"no bot":              {func(e *Event) { e.Bot = "" }, ErrNoBot},
		"bot not UTF-8":       {func(e *Event) { e.Bot = "b\xff" }, ErrNoBot},
		"no queue":            {func(e *Event) { e.Queue = "" }, ErrNoQueue},
		"queue not UTF-8":     {func(e *Event) { e.Queue = "\xc3" }, ErrNoQueue},
		"no payload":          {func(e *Event) { e.Payload = nil }, ErrFalsyPayload},
		"empty payload":       {func(e *Event) { e.Payload = json.RawMessage{} }, ErrFalsyPayload},
		"null":                {func(e *Event) { e.Payload = json.RawMessage(" null") }, ErrFalsyPayload},
		"false":               {func(e *Event) { e.Payload = json.RawMessage("false") }, ErrFalsyPayload},
		"zero":                {func(e *Event) { e.Payload = json.RawMessage("-0.0") }, ErrFalsyPayload},
		"empty string":        {func(e *Event) { e.Payload = json.RawMessage(`""`) }, ErrFalsyPayload},
		"blank payload":       {func(e *Event) { e.Payload = json.RawMessage(" ") }, ErrPayload},
		"cut payload":         {func(e *Event) { e.Payload = json.RawMessage(`{"a":1`) }, ErrPayload},
		"two payloads":        {func(e *Event) { e.Payload = json.RawMessage(`{} {}`) }, ErrPayload},
		"payload not UTF-8":   {func(e *Event) { e.Payload = json.RawMessage("\"\xff\"") }, ErrPayload},
		"newline in string":   {func(e *Event) { e.Payload = json.RawMessage("\"a\nb\"") }, ErrPayload},
		"member":              {func(e *Event) { e.Extra = []Member{{"x", json.RawMessage("{")}} }, ErrPayload},
		"member without JSON": {func(e *Event) { e.Extra = []Member{{"x", nil}} }, ErrPayload},
		"member not UTF-8":    {func(e *Event) { e.Extra = []Member{{"x", json.RawMessage("\"\xc0\"")}} }, ErrPayload},
		"name not UTF-8":      {func(e *Event) { e.Extra = []Member{{"\xff", json.RawMessage("1")}} }, ErrPayload},
		"correlation":         {func(e *Event) { e.Correlation = &Correlation{Source: "\xff"} }, ErrPayload},
		"correlation member":  {func(e *Event) { e.Correlation = &Correlation{Extra: []Member{{"x", json.RawMessage("nul")}}} }, ErrPayload},
	} {
		e := good
		c.change(&e)
		line, err := AppendLine([]byte("before"), &e, 0)
		if !errors.Is(err, c.want) || string(line) != "before" {
			t.Errorf("%s: %q, %v; want %v", name, line, err, c.want)
		}
	}
}

func TestAHugeLineIsReadAndWritten(t *testing.T) {
	e := Event{Bot: "b", Queue: "q", Payload: json.RawMessage(`{"t":"` + strings.Repeat("x", 5<<20) + `"}`)}
	line, err := AppendLine(nil, &e, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(line)
	if err != nil || len(got.Payload) != len(e.Payload) {
		t.Errorf("%d bytes, %v", len(got.Payload), err)
	}
}

func TestWhatFitsNoFieldStaysInExtra(t *testing.T) {
	const text = `{"id":{"a":1},"event":"q","payload":1,"timestamp":"soon","event_source_timestamp":1.5,"units":0,"correlation_id":"c","a":1,"b":2,"a":3,"eid":"z/1","archive":true}`
	e, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Event{Queue: "q", Payload: json.RawMessage("1"), Extra: []Member{
		{"id", json.RawMessage(`{"a":1}`)}, {"timestamp", json.RawMessage(`"soon"`)}, {"event_source_timestamp", json.RawMessage("1.5")},
		{"units", json.RawMessage("0")}, {"correlation_id", json.RawMessage(`"c"`)}, {"a", json.RawMessage("3")}, {"b", json.RawMessage("2")},
		{"archive", json.RawMessage("true")},
	}}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("\n got %+v\nwant %+v", e, want)
	}
	e.Bot = "b"
	line, err := AppendLine(nil, &e, -1)
	if err != nil {
		t.Fatal(err)
	}
	const back = `{"id":"b","event":"q","timestamp":"soon","event_source_timestamp":1.5,"units":0,"correlation_id":"c","a":3,"b":2,"archive":true,"payload":1}` + "\n"
	if string(line) != back {
		t.Errorf("\n got %swant %s", line, back)
	}
}

func TestMissingMembersAreNoError(t *testing.T) {
	e, err := Parse([]byte(`{"timestamp":null,"units":null,"correlation_id":null,"event":null,"event_source_timestamp":null,"id":null}`))
	if err != nil || !reflect.DeepEqual(e, Event{}) {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := Parse([]byte(`{"event":["q"]}`)); !errors.Is(err, ErrNoQueue) {
		t.Errorf("an event of no kind: %v", err)
	}
	if _, err := Parse([]byte(`[1]`)); !errors.Is(err, ErrSyntax) {
		t.Errorf("an array: %v", err)
	}
}

func TestAppendStored(t *testing.T) {
	const now = 1704164645678
	for _, c := range []struct{ line, want string }{
		{`{}`, `{"event":"q","timestamp":1704164645678,"event_source_timestamp":1704164645678,"eid":7}`},
		{`{ }`, `{ "event":"q","timestamp":1704164645678,"event_source_timestamp":1704164645678,"eid":7}`},
		{`{"event":"q","timestamp":5,"event_source_timestamp":4,"eid":7,"n":1.50}`, ``},
		{`{"eid":0,"event":"queue:q","timestamp":5,"event_source_timestamp":4}`, `{"eid":7,"event":"q","timestamp":5,"event_source_timestamp":4}`},
		{` {"event" : {"id":"q"} , "eid" : "z/1" , "timestamp":5,"event_source_timestamp":4 , "payload" : [ 1 ] } `, `{"event" : "q" , "eid" : 7 , "timestamp":5,"event_source_timestamp":4 , "payload" : [ 1 ] }`},
		{`{"event":"q","timestamp":5,"eid":7}`, `{"event":"q","timestamp":5,"eid":7,"event_source_timestamp":5}`},
		{`{"event":"q","timestamp":5,"eid":7 }`, `{"event":"q","timestamp":5,"eid":7 ,"event_source_timestamp":5}`},
		{`{"event":"q","eid":7,"event_source_timestamp":4}`, `{"event":"q","eid":7,"event_source_timestamp":4,"timestamp":1704164645678}`},
		{`{"event_source_timestamp":null,"timestamp":0,"event":"q","eid":-0}`, `{"event_source_timestamp":1704164645678,"timestamp":1704164645678,"event":"q","eid":7}`},
		{`{"event":"q","eid":7,"timestamp":"1704164645000","event_source_timestamp":"2024-01-02T03:04:05.000Z"}`, `{"event":"q","eid":7,"timestamp":"1704164645000","event_source_timestamp":1704164645000}`},
		{`{"event":"q","eid":7,"timestamp":"1704164645000"}`, `{"event":"q","eid":7,"timestamp":"1704164645000","event_source_timestamp":1704164645000}`},
		{`{"event":"q","eid":7,"timestamp":"soon","event_source_timestamp":"later"}`, `{"event":"q","eid":7,"timestamp":"soon","event_source_timestamp":1704164645678}`},
		{`{"event":"\u0071","eid":7e0,"timestamp":5.5,"event_source_timestamp":-4}`, `{"event":"q","eid":7,"timestamp":5.5,"event_source_timestamp":-4}`},
		{`{"eid":1,"eid":2,"event":"x","event":"q","timestamp":5,"event_source_timestamp":4}`, `{"eid":1,"eid":7,"event":"x","event":"q","timestamp":5,"event_source_timestamp":4}`},
	} {
		if c.want == "" {
			c.want = c.line
		}
		l := scanned(t, c.line)
		if got := l.AppendStored(nil, "q", 7, now); string(got) != c.want+"\n" {
			t.Errorf("%s\n got %swant %s", c.line, got, c.want)
		}
	}
	l := scanned(t, `{"event":"q","eid":-0,"timestamp":5,"event_source_timestamp":4}`)
	if got := l.AppendStored(nil, "q", 0, now); string(got) != `{"event":"q","eid":0,"timestamp":5,"event_source_timestamp":4}`+"\n" {
		t.Errorf("%s", got)
	}
}

func TestNumbersAreWrittenAsStrconvWritesThem(t *testing.T) {
	check := func(n int64) bool {
		return string(appendMillis([]byte("x"), n)) == "x"+strconv.FormatInt(n, 10)
	}
	for _, n := range []int64{0, -1, 1, 999_999_999_999, 1_000_000_000_000, 1704164645678, 9_999_999_999_999, 10_000_000_000_000, 1_000_000_000_001, 5_999_999_999_999} {
		if !check(n) {
			t.Errorf("%d is written as %s", n, appendMillis(nil, n))
		}
	}
	if err := quick.Check(func(n uint64) bool { return check(int64(n % 1e13)) }, nil); err != nil {
		t.Error(err)
	}
}

func TestNumbersAreReadAsStrconvReadsThem(t *testing.T) {
	check := func(n int64, digits uint8) bool {
		text := strconv.FormatInt(n, 10)
		if keep := int(digits%18) + 1; len(text) > keep {
			text = strings.TrimSuffix(text[:keep], "-")
		}
		want, err := strconv.ParseInt(text, 10, 64)
		got, ok := plainInteger([]byte(text))
		return ok == (err == nil && len(strings.TrimPrefix(text, "-")) <= 18) && (!ok || got == want)
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "-", "1.5", "1e3", "12345678.", "1234567x", "--1", "1234567890123456789", "12345678/", "12345678:", "+1"} {
		if n, ok := plainInteger([]byte(text)); ok {
			t.Errorf("%q is read as %d", text, n)
		}
	}
}

func TestNothingIsAllocatedOnceBuffersAreThere(t *testing.T) {
	events, lines := sampleEvents(64), sampleLines(64)
	var l Line
	buf := make([]byte, 0, 1<<16)
	i := 0
	for name, f := range map[string]func(){
		"Scan": func() {
			if err := Scan(lines[i%64], &l); err != nil || len(l.Bot()) == 0 || !l.HasPayload() || l.Units() != 1 {
				t.Error(err)
			}
			if q, err := l.Queue(); err != nil || q == "" {
				t.Error(err)
			}
		},
		"AppendStored": func() { buf = l.AppendStored(buf[:0], "other", i, 5) },
		"AppendLine": func() {
			var err error
			if buf, err = AppendLine(buf[:0], &events[i%64], i); err != nil {
				t.Error(err)
			}
		},
	} {
		if err := Scan(lines[0], &l); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(200, func() { f(); i++ }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestUTF8IsJudgedAsTheStandardLibraryDoes(t *testing.T) {
	parts := []string{"", "a", "12345678", "é", "中", "🚀", "\xff", "\xc3", "\xe4\xb8", "\xf0\x9f\x9a", "\xed\xa0\x80", "\xc0\x80", "\uFFFD", "\x80", "1234567"}
	for _, a := range parts {
		for _, b := range parts {
			for _, c := range parts {
				text := []byte(a + b + c)
				if validUTF8(text) != utf8.Valid(text) {
					t.Errorf("%q: %v", text, validUTF8(text))
				}
			}
		}
	}
}
