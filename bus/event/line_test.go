package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/ref"
)

func scanned(t testing.TB, text string) *Line {
	t.Helper()
	l := new(Line)
	if err := Scan([]byte(text), l); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return l
}

// documents are JSON texts, good and bad, to stand as a value in a line.
var documents = []string{
	`0`, `-0`, `1`, `-1`, `10`, `1.5`, `1e5`, `1E+5`, `1e-5`, `-0.0e0`, `123456789012345678901234567890`, `1.7976931348623157e+308`,
	`01`, `-`, `+1`, `.5`, `1.`, `1.e5`, `1e`, `1e+`, `--1`, `0x1`, `1a`, `Infinity`, `NaN`, `00`, `-01`, `12345678`, `1234567a`,
	`"a"`, `""`, `"\""`, `"\\"`, `"\/\b\f\n\r\t"`, `"\u0041"`, `"\ud83d\ude80"`, `"\ud83d"`, `"\u004"`, `"\u00g0"`, `"\x"`, `"\`, `"`, `"a`,
	"\"a\tb\"", "\"a\x00b\"", "\"\x1f\"", "\"\x7f\"", "\"\xff\xfe\"", `"é中🚀"`, "\"\u2028\"", `'a'`, `"12345678"`, `"1234567\""`, `"1234567\"`,
	`"12345678\u12`, "\"12345678\x01\"", `"\u12345678"`,
	`true`, `false`, `null`, `tru`, `nul`, `fals`, `True`, `nulll`, `truefalse`, `t`,
	`[]`, `[ ]`, `[1]`, `[1,2]`, `[1 , 2]`, `[1,]`, `[,1]`, `[1 2]`, `[`, `]`, `[1`, `[1,`, `[}`, `[[]]`, `[[[1],[2]],[]]`, `[1]]`, `[[1]`,
	`{}`, `{ }`, `{"a":1}`, `{ "a" : 1 , "b" : 2 }`, `{"a":1,}`, `{,"a":1}`, `{"a"}`, `{"a":}`, `{"a" 1}`, `{a:1}`, `{1:1}`, `{"a":1 "b":2}`, `{`, `}`,
	`{"a":{"b":{"c":[{}]}}}`, `{"a":1]`, `{"a":[1}`, `{"a":1}}`, `{"":0}`, `{"a":1,"a":2}`, "{\"a\"\t:\r1}", `{"a":1,,"b":2}`, `[{},{},{"a":[]}]`,
	``, ` `, `1 1`, `{} {}`, `//c`, `{"a":/**/1}`, "\ufeff1", "\xef\xbb\xbf{}", "\v1", "\u00a01",
}

func TestAcceptsExactlyWhatEncodingJSONAccepts(t *testing.T) {
	for _, doc := range documents {
		for _, text := range []string{
			fmt.Sprintf(`{"id":"b","event":"q","payload":%s}`, doc), fmt.Sprintf(`{"payload":%s}`, doc), doc,
			fmt.Sprintf(`{"payload":%s,"x":[%s]} `, doc, doc), fmt.Sprintf(`{"payload":{"deep":[[%s,%s],{"k":%s}],"z":0}}`, doc, doc, doc),
		} {
			checkAgainstStandard(t, []byte(text))
			for cut := range len(text) {
				checkAgainstStandard(t, []byte(text[:cut]))
			}
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	for _, c := range []struct {
		depth int
		ok    bool
	}{{63, true}, {64, true}, {65, true}, {129, true}, {9998, true}, {9999, true}, {10_000, false}, {1_000_000, false}} {
		for _, brackets := range []string{"[]", "{}"} {
			open, end := brackets[:1], brackets[1:]
			if open == "{" {
				open = `{"a":`
			}
			value := strings.Repeat(open, c.depth) + "1" + strings.Repeat(end, c.depth)
			line := []byte(`{"payload":` + value + `}`)
			err := Scan(line, new(Line))
			if (err == nil) != c.ok {
				t.Errorf("depth %d of %s: %v", c.depth, brackets, err)
			}
			if json.Valid(line) != (err == nil) {
				t.Errorf("depth %d of %s: encoding/json disagrees", c.depth, brackets)
			}
			if err == nil {
				line[len(line)-2-c.depth/2] ^= '[' ^ '{' // One closing bracket in the middle becomes the other kind.
				if Scan(line, new(Line)) == nil && c.depth > 1 {
					t.Errorf("depth %d of %s: a bracket of the wrong kind is accepted", c.depth, brackets)
				}
			}
		}
	}
}

func TestMembersAreFoundWhereverTheyStandAndHoweverTheyAreWritten(t *testing.T) {
	for _, text := range []string{
		`{"id":"bot","event":"q","payload":{"id":"inner"},"timestamp":1704164645678,"event_source_timestamp":1704164644678,"units":3,"eid":7}`,
		` { "eid" : 7 , "units" : 3 , "payload" : {"id":"inner"} , "event" : "q" , "timestamp":1704164645678,"id":"bot","event_source_timestamp":1704164644678 } `,
		`{"\u0069d":"bot","e\u0076ent":"q","p\u0061yload":{"id":"inner"},"\u0074imestamp":1704164645678,"event_source_timestamp":1704164644678,"unit\u0073":3,"e\u0069d":7}`,
		`{"id":"first","id":"bot","event":{"id":"x"},"event":"q","payload":0,"payload":{"id":"inner"},"timestamp":1,"timestamp":1704164645678,"event_source_timestamp":null,"event_source_timestamp":1704164644678,"units":9,"units":3,"eid":"z/","eid":7}`,
		`{"id":"first","\u0069d":"bot","event":"\u0071","payload":{"id":"inner"},"timestamp":1704164645678,"event_source_timestamp":"2024-01-02T03:04:04.678Z","units":3,"eid":7}` + "\n",
	} {
		l := scanned(t, text)
		queue, err := l.Queue()
		stamp, ok1 := l.Timestamp()
		source, ok2 := l.SourceTimestamp()
		index, ok3 := l.EIDIndex()
		if l.Bot() != "bot" || string(l.BotBytes()) != "bot" || queue != "q" || err != nil || string(l.PayloadRaw()) != `{"id":"inner"}` ||
			stamp != 1704164645678 || source != 1704164644678 || index != 7 || l.Units() != 3 || !ok1 || !ok2 || !ok3 || !l.HasPayload() {
			t.Errorf("%s: got %q %q %v %s %d %d %d %d", text, l.Bot(), queue, err, l.PayloadRaw(), stamp, source, index, l.Units())
		}
		if raw := strings.TrimSpace(text); string(l.Raw()) != raw {
			t.Errorf("raw %s, want %s", l.Raw(), raw)
		}
	}
}

func TestNewlinesInsideALineAreRefused(t *testing.T) {
	for _, text := range []string{"{\n}", "{\"a\":1,\n\"b\":2}", "{}\n\n", "\n{}", "{\"a\":\"\n\"}"} {
		if err := Scan([]byte(text), new(Line)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"{}\n", "{}\r\n", "{}\r", "{\r}\n"} {
		if err := Scan([]byte(text), new(Line)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAFailedScanLeavesNothingOfAnyLine(t *testing.T) {
	l := scanned(t, `{"id":"bot","event":"q","payload":1,"custom":2}`)
	if err := Scan([]byte(`{"id":"other","event":"r","payload":1,"custom":2`), l); !errors.Is(err, ErrSyntax) {
		t.Fatal(err)
	}
	if l.Bot() != "" || l.HasPayload() || l.Raw() != nil || len(l.others) != 0 {
		t.Errorf("left over: %q %s", l.Bot(), l.Raw())
	}
	if _, err := l.Queue(); !errors.Is(err, ErrNoQueue) {
		t.Error(err)
	}
}

func TestOnlyTruthyPayloadsCount(t *testing.T) {
	for value, want := range map[string]bool{
		`null`: false, `false`: false, `0`: false, `-0`: false, `0.0`: false, `0e9`: false, `-0.0E5`: false, `""`: false, `1e-400`: false,
		`0.0000000000000000000000000000001`: true, `true`: true, `1`: true, `-1`: true, `1e400`: true, `5e-324`: true, `" "`: true, `"0"`: true,
		`[]`: true, `{}`: true, `"\u0000"`: true, `10`: true, `0.5`: true,
	} {
		l := scanned(t, `{"payload":`+value+`}`)
		if l.HasPayload() != want || Truthy(json.RawMessage(value)) != want {
			t.Errorf("%s: %v, want %v", value, l.HasPayload(), want)
		}
	}
	if scanned(t, `{"id":"b"}`).HasPayload() {
		t.Error("a payload that is not there counts")
	}
}

func TestQueueNamesAreNormalised(t *testing.T) {
	for value, want := range map[string]string{
		`"q"`: "q", `"queue:q"`: "q", `"QUEUE:q"`: "q", `"x:queue:y"`: "y", `"s_orders"`: "orders", `"e_x"`: "x", `"b_x"`: "x", `"bot:botA"`: "bot.botA",
		`"system:sysA"`: "system.sysA", `"a:b"`: "a:b", `"queue:a:b"`: "a:b", `"s_"`: "", `"\u0071"`: "q", `"qu\u0065ue:q"`: "q", `"é"`: "é", `"s"`: "s",
		`{"id":"q.ref4","type":"queue"}`: "q.ref4", `{"id":"botA.error","type":"bot"}`: "bot.botA.error", `{"type":"system","id":"s"}`: "system.s",
		`{"opts":{"type":"queue","types":{"queue":"queue","system":"system","bot":"bot"},"legacyMode":false},"type":"queue","id":"bot.abc.error"}`: "bot.abc.error",
		`{"id":"queue:q"}`: "queue:q", `{"id":5,"type":"bot"}`: "bot.5", `5`: "5", `{"\u0069d":"q"}`: "q", `{"id":"a","id":"b"}`: "b", `{ "id" : "q" }`: "q",
		`null`: "", `""`: "", `{}`: "", `{"id":""}`: "", `[]`: "", `["q"]`: "", `true`: "", `false`: "", `0`: "", `1.5`: "", `1e3`: "", `"\ud800"`: "",
		`{"id":"\ud800"}`: "", `{"id":null}`: "", `{"type":"queue"}`: "",
	} {
		l := scanned(t, `{"event":`+value+`}`)
		queue, err := l.Queue()
		if queue != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrNoQueue) {
			t.Errorf("%s: %q, %v; want %q", value, queue, err, want)
		}
		if name, plain := l.QueueBytes(); plain && (string(name) != want || ref.Queue(want) != want) {
			t.Errorf("%s counts as plain: %q", value, name)
		}
	}
	for _, name := range []string{"", "q", "s_", "s_x", "e_x", "b_x", "a_x", "s", "_", "x:y", ":", "queue:q", "bs_"} {
		if plainName([]byte(name)) != ref.Plain(name) {
			t.Errorf("%q: not as package ref says", name)
		}
	}
}

func TestBotsMayBeNumbers(t *testing.T) {
	for value, want := range map[string]string{
		`"b"`: "b", `"\u0062"`: "b", `5`: "5", `12.50`: "12.50", `0`: "", `""`: "", `null`: "", `{}`: "", `["b"]`: "", `true`: "",
	} {
		if l := scanned(t, `{"id":`+value+`}`); l.Bot() != want || string(l.BotBytes()) != want {
			t.Errorf("%s: %q, want %q", value, l.Bot(), want)
		}
	}
}

func TestTimesAreReadFromNumbersAndDates(t *testing.T) {
	for value, want := range map[string]int64{
		`1704164645678`: 1704164645678, `1704164645678.9`: 1704164645678, `1.704164645678e12`: 1704164645678, `"1704164645678"`: 1704164645678, `1`: 1,
		`"2024-01-02T03:04:05.678Z"`: 1704164645678, `"2024-01-02T03:04:05Z"`: 1704164645000, `"2024-01-02T04:04:05.678+01:00"`: 1704164645678,
		`"2024-01-02T04:04:05.678+0100"`: 1704164645678, `"2024-01-02T03:04:05.678"`: 1704164645678, `"2024-01-02 03:04:05"`: 1704164645000,
		`"2024-01-02T03:04"`: 1704164640000, `"2024-01-02"`: 1704153600000, `"20240102"`: 1704153600000, `"2024"`: 1704067200000,
		`"Tue, 02 Jan 2024 03:04:05 GMT"`: 1704164645000, `"2024\u002d01-02"`: 1704153600000,
		`0`: 0, `-1`: 0, `null`: 0, `true`: 0, `{}`: 0, `""`: 0, `"soon"`: 0, `"\ud800"`: 0, `1e400`: 0, `"2024-13-01"`: 0, `0.5`: 0, `9007199254740993`: 9007199254740993,
	} {
		l := scanned(t, `{"timestamp":`+value+`,"event_source_timestamp":`+value+`,"snapshot":`+value+`}`)
		stamp, ok1 := l.Timestamp()
		source, ok2 := l.SourceTimestamp()
		if stamp != source || ok1 != ok2 || ok1 != (want != 0) || ok1 && stamp != want || ok1 && l.Snapshot() != want {
			t.Errorf("%s: %d %v %d %v, want %d", value, stamp, ok1, source, ok2, want)
		}
	}
}

func TestUnitsCountOneUnlessMoreIsSaid(t *testing.T) {
	for value, want := range map[string]int64{
		`5`: 5, `1`: 1, `0`: 1, `-3`: 1, `null`: 1, `"5"`: 1, `2.9`: 2, `1e3`: 1000, `0.1`: 1, `{}`: 1, `1e999`: 1,
	} {
		if got := scanned(t, `{"units":`+value+`}`).Units(); got != want {
			t.Errorf("%s: %d, want %d", value, got, want)
		}
	}
	if got := scanned(t, `{}`).Units(); got != 1 {
		t.Errorf("none: %d", got)
	}
}

func TestCommandsPointersAndArchivesAreTold(t *testing.T) {
	for text, want := range map[string]string{
		`{"_cmd":"registerSnapshot"}`: "registerSnapshot", `{"_cmd":"a\u0062"}`: "ab", `{"_cmd":""}`: "", `{"_cmd":null}`: "", `{"_cmd":{"x":1}}`: `{"x":1}`,
		`{"_cmd":1}`: "1", `{"__cmd":"flush"}`: "", `{}`: "",
	} {
		if got := scanned(t, text).Command(); got != want {
			t.Errorf("%s: command %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]bool{`{"s3":{"bucket":"b"}}`: true, `{"s3":null}`: false, `{"s3":""}`: false, `{}`: false, `{"s3":"x"}`: true} {
		if scanned(t, text).IsPointer() != want {
			t.Errorf("%s: pointer %v", text, !want)
		}
	}
	for text, want := range map[string]bool{`{"archive":true}`: true, `{"archive":false}`: false, `{"archive":1}`: true, `{}`: false} {
		if scanned(t, text).Archive() != want {
			t.Errorf("%s: archive %v", text, !want)
		}
	}
}

func TestOwnIDsOfLines(t *testing.T) {
	for value, want := range map[string]int{`0`: 0, `7`: 7, `-1`: -1, `1.5`: -1, `"7"`: -1, `null`: -1, `99999999999`: -1} {
		i, ok := scanned(t, `{"eid":`+value+`}`).EIDIndex()
		if ok != (want >= 0) || ok && i != want {
			t.Errorf("%s: %d %v", value, i, ok)
		}
	}
	if s, ok := scanned(t, `{"eid":"z\/2024"}`).EIDString(); s != "z/2024" || !ok {
		t.Errorf("%q %v", s, ok)
	}
	if _, ok := scanned(t, `{"eid":7}`).EIDString(); ok {
		t.Error("a number is no id")
	}
}
