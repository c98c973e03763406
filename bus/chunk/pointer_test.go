package chunk

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

const archiveID = "z/2024/01/01/00/00/1704067200000-000000"

func validPointer() Pointer {
	return Pointer{
		Queue: "orders", Blob: store.BlobRef{Bucket: "b", Key: "bus/orders/x.gz"}, Records: 6, Size: 732, GzipSize: 258,
		Offsets: []store.Offset{
			{Event: "orders", Start: 0, End: 3, Records: 4, Size: 488, GzipSize: 136},
			{Event: "orders", Start: 4, End: 5, Records: 2, Size: 244, GzipSize: 122, Offset: 488, GzipOffset: 136},
		},
		Stats:        map[string]Stat{"b<o>t": {Start: 1, End: 2, Units: 6, Checkpoint: json.RawMessage("1")}},
		Correlations: json.RawMessage(`[{},{}]`), Timestamp: 1704164645678, SourceTimestamp: 1704164645000,
	}
}

func archivePointer() Pointer {
	p := validPointer()
	p.Archive, p.StartID, p.EndID = true, archiveID+"0", archiveID+"5"
	p.Offsets[0].StartID, p.Offsets[0].EndID, p.Offsets[0].End = archiveID+"0", archiveID+"3", 0
	p.Offsets[1].StartID, p.Offsets[1].EndID, p.Offsets[1].Start, p.Offsets[1].End = archiveID+"4", archiveID+"5", 0, 0
	return p
}

func TestPointersComeBack(t *testing.T) {
	snapshot, bare, archive := validPointer(), validPointer(), archivePointer()
	snapshot.Snapshot, snapshot.Creator = 1704161045678, "firehose"
	snapshot.Extra = []event.Member{{Name: "custom", Value: json.RawMessage(`{"a":[1.0]}`)}, {Name: "id", Value: json.RawMessage(`"bot"`)}}
	bare.Stats, bare.Correlations, bare.Timestamp, bare.SourceTimestamp, bare.Offsets[0].Event = nil, nil, 0, 0, ""
	for name, p := range map[string]Pointer{"plain": validPointer(), "snapshot": snapshot, "archive": archive, "bare": bare} {
		line, err := AppendPointer(nil, &p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := ParsePointer(line)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, line)
		}
		if name == "bare" {
			p.Stats, p.Correlations = map[string]Stat{}, json.RawMessage("[]")
		}
		if !reflect.DeepEqual(got, p) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, p)
		}
		if hasStart := strings.Contains(string(line), `,"start":null,"end":5,`); hasStart == p.Archive {
			t.Errorf("%s: %s", name, line) // W4
		}
	}
}

func TestAPointerThatContradictsItselfIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Pointer){
		"no queue":             func(p *Pointer) { p.Queue = "" },
		"no bucket":            func(p *Pointer) { p.Blob.Bucket = "" },
		"no key":               func(p *Pointer) { p.Blob.Key = "" },
		"queue not UTF-8":      func(p *Pointer) { p.Queue = "\xff" },
		"no sections":          func(p *Pointer) { p.Offsets = nil },
		"records":              func(p *Pointer) { p.Records++ },
		"size":                 func(p *Pointer) { p.Size-- },
		"compressed size":      func(p *Pointer) { p.GzipSize++ },
		"gap of events":        func(p *Pointer) { p.Offsets[1].Start, p.Offsets[1].End = 5, 6 },
		"overlap of events":    func(p *Pointer) { p.Offsets[1].Start, p.Offsets[1].Records, p.Records = 3, 3, 7 },
		"first event":          func(p *Pointer) { p.Offsets[0].Start, p.Offsets[0].Records, p.Records = 1, 3, 5 },
		"count of a section":   func(p *Pointer) { p.Offsets[0].Records, p.Offsets[1].Records = 3, 3 },
		"text offset":          func(p *Pointer) { p.Offsets[1].Offset++ },
		"byte offset":          func(p *Pointer) { p.Offsets[1].GzipOffset-- },
		"first byte":           func(p *Pointer) { p.Offsets[0].GzipOffset = 1 },
		"empty section":        func(p *Pointer) { p.Offsets[1].Records, p.Offsets[1].End, p.Records = 0, 3, 4 },
		"negative size":        func(p *Pointer) { p.Offsets[1].Size, p.Size = -244, 244 },
		"huge":                 func(p *Pointer) { p.Offsets[1].Size, p.Size = 1<<62, 1<<62+488 },
		"sum too large":        func(p *Pointer) { p.Offsets[1].Size, p.Size = maxTotal, maxTotal+488 },
		"ids without archive":  func(p *Pointer) { p.Offsets[0].StartID, p.Offsets[0].EndID = archiveID+"0", archiveID+"3" },
		"range of ids":         func(p *Pointer) { p.StartID, p.EndID = archiveID+"0", archiveID+"5" },
		"archive without ids":  func(p *Pointer) { p.Archive = true },
		"archive and snapshot": func(p *Pointer) { *p = archivePointer(); p.Snapshot = 5 },
		"negative snapshot":    func(p *Pointer) { p.Snapshot = -1 },
		"archive start":        func(p *Pointer) { *p = archivePointer(); p.StartID = archiveID + "1" },
		"archive end":          func(p *Pointer) { *p = archivePointer(); p.EndID = archiveID + "6" },
		"archive overlap":      func(p *Pointer) { *p = archivePointer(); p.Offsets[1].StartID = archiveID + "3" },
		"archive backwards": func(p *Pointer) {
			*p = archivePointer()
			p.Offsets[0].StartID = archiveID + "4"
			p.StartID = archiveID + "4"
		},
		"archive, no id": func(p *Pointer) { *p = archivePointer(); p.Offsets[0].StartID = "z/"; p.StartID = "z/" },
		"archive, one id for several events": func(p *Pointer) {
			*p = archivePointer()
			p.Offsets[1].StartID = archiveID + "5"
		},
	} {
		p := validPointer()
		change(&p)
		if line, err := AppendPointer([]byte("x"), &p); !errors.Is(err, ErrPointer) || string(line) != "x" {
			t.Errorf("%s: %s, %v", name, line, err)
		}
	}
	for name, change := range map[string]func(*Pointer){
		"stats":        func(p *Pointer) { p.Stats = map[string]Stat{"b": {Checkpoint: json.RawMessage("{")}} },
		"correlations": func(p *Pointer) { p.Correlations = json.RawMessage("nul") },
		"extra":        func(p *Pointer) { p.Extra = []event.Member{{Name: "x", Value: json.RawMessage("}")}} },
	} {
		p := validPointer()
		change(&p)
		if line, err := AppendPointer([]byte("x"), &p); !errors.Is(err, ErrPointer) || string(line) != "x" {
			t.Errorf("%s that are no JSON: %s, %v", name, line, err)
		}
	}
}

func TestPointersOfOddFormsAreReadOrRefusedButNeverMisread(t *testing.T) {
	const rest = `"s3":{"bucket":"b","key":"k"},"offsets":[{"event":null,"start":0,"end":0,"records":1,"gzipSize":30,"size":10,"offset":0,"gzipOffset":0}]`
	for text, ok := range map[string]bool{
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                                          true,
		`{"event":"q","start":0,"end":0,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                                true,
		`{"event":"queue:q","end":0,"gzipSize":30,"size":10,"records":1,"archive":false,"snapshot":null,` + rest + `}`:    true,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"stats":null,"correlations":null,` + rest + `}`:         true,
		`{"event":"q","end":9,"end":0,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                                  true,
		`{"event":"q","gzipSize":30,"size":10,"records":1,` + rest + `}`:                                                  false,
		`{"event":"q","end":1,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                                          false,
		`{"event":"q","end":"0","gzipSize":30,"size":10,"records":1,` + rest + `}`:                                        false,
		`{"event":"q","start":1,"end":1,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                                false,
		`{"event":"q","start":"z/1","end":0,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                            false,
		`{"event":"q","END":0,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                                          false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,` + rest + `}`:                                                      false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1.5,` + rest + `}`:                                        false,
		`{"event":"q","end":0,"gzipSize":30,"size":"10","records":1,` + rest + `}`:                                        false,
		`{"event":"q","end":0,"gzipSize":30,"size":null,"records":1,` + rest + `}`:                                        false,
		`{"end":0,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                                                      false,
		`{"event":[],"end":0,"gzipSize":30,"size":10,"records":1,` + rest + `}`:                                           false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"snapshot":"today",` + rest + `}`:                       false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"snapshot":true,` + rest + `}`:                          false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"archive":true,` + rest + `}`:                           false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"stats":[],` + rest + `}`:                               false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"s3":"k","offsets":[]}`:                                 false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"s3":{"bucket":"b","key":5},"offsets":[]}`:              false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"s3":{"bucket":"b","Key":"k"},"offsets":[]}`:            false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"s3":{"bucket":"b","key":"k"}}`:                         false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"s3":{"bucket":"b","key":"k"},"offsets":null}`:          false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"s3":{"bucket":"b","key":"k"},"offsets":[null]}`:        false,
		`{"event":"q","end":0,"gzipSize":30,"size":10,"records":1,"s3":{"bucket":"b","key":"k"},"offsets":[{"start":0}]}`: false,
		`{"event":"q"`: false,
	} {
		p, err := ParsePointer([]byte(text))
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrPointer) {
			t.Errorf("%v: %s", err, text)
		}
		if err == nil && (p.Queue != "q" || p.Blob.Key != "k" || p.Records != 1 || p.Archive || p.Snapshot != 0) {
			t.Errorf("%+v of %s", p, text)
		}
	}
}

func TestAPointerDoesNotAliasItsLine(t *testing.T) {
	p := validPointer()
	p.Extra = []event.Member{{Name: "custom", Value: json.RawMessage(`"value"`)}}
	line, err := AppendPointer(nil, &p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePointer(line)
	if err != nil {
		t.Fatal(err)
	}
	clear(line)
	if !reflect.DeepEqual(got, p) {
		t.Errorf("%+v", got)
	}
}

func TestExtraCannotOverrideAPointer(t *testing.T) {
	p := validPointer()
	p.Extra = []event.Member{{Name: "s3", Value: json.RawMessage(`null`)}, {Name: "event", Value: json.RawMessage(`"x"`)}}
	line, err := AppendPointer(nil, &p)
	if err != nil {
		t.Fatal(err)
	}
	p.Extra = nil
	if got, err := ParsePointer(line); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSectionTablesComeBack(t *testing.T) {
	for name, offsets := range map[string][]store.Offset{
		"none": {}, "live": validPointer().Offsets, "archive": archivePointer().Offsets, "no queue": {{Start: 5, End: 6, Records: 2, Size: 3, GzipSize: 4}},
	} {
		data, err := MarshalOffsets(offsets)
		if err != nil || !json.Valid(data) {
			t.Fatalf("%s: %s, %v", name, data, err)
		}
		got, err := UnmarshalOffsets(data)
		if err != nil || !reflect.DeepEqual(got, offsets) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, offsets)
		}
	}
	entry := `{"event":null,"start":%s,"end":%s,"records":1,"gzipSize":30,"size":10,"offset":0,"gzipOffset":0}`
	for _, c := range [][2]string{{`0`, `"z/1"`}, {`"z/1"`, `0`}, {`null`, `0`}, {`0`, `-1`}, {`""`, `""`}, {`0`, `1e3`}, {`0`, `9007199254740993`}} {
		if got, err := UnmarshalOffsets(fmt.Appendf(nil, "["+entry+"]", c[0], c[1])); !errors.Is(err, ErrPointer) {
			t.Errorf("from %s to %s: %+v, %v", c[0], c[1], got, err)
		}
	}
	for _, text := range []string{``, `{}`, `[1]`, `[`, `"x"`} {
		if got, err := UnmarshalOffsets([]byte(text)); !errors.Is(err, ErrPointer) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
