package ref_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rstreams-go/rstreams/bus/ref"
)

// value is one recorded answer of the original.
type value[T any] struct {
	Value T
}

type owner struct {
	Type  string
	ID    string
	Queue *string
}

type golden struct {
	Names []struct {
		Name                              string
		RefID, Type, ID, AsQueue          value[string]
		Subqueue, BotRefID, BotErrorQueue value[string]
		SystemRefID, SystemQueue          value[string]
		Owner                             value[*owner]
	}
	Objects []struct {
		Object                   json.RawMessage
		RefID, AsQueue, BotRefID value[string]
	}
	Serialised json.RawMessage `json:"serialised_object_ref"`
}

func load(t *testing.T, file string) golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Names) < 30 {
		t.Fatalf("%s holds only %d names", file, len(g.Names))
	}
	return g
}

func TestNamesGiveWhatTheOriginalGives(t *testing.T) {
	for _, file := range []string{"refs.json", "refs_more.json"} {
		for _, n := range load(t, file).Names {
			t.Run(n.Name, func(t *testing.T) {
				check := func(what, got, want string) {
					t.Helper()
					if got != want {
						t.Errorf("%s of %q = %q, want %q", what, n.Name, got, want)
					}
				}
				r := ref.Parse(n.Name)
				check("reference form", r.String(), n.RefID.Value)
				check("QueueRef", ref.QueueRef(n.Name), n.RefID.Value)
				check("type", string(r.Type), n.Type.Value)
				check("id", r.ID, n.ID.Value)
				check("queue form", r.Queue(), n.AsQueue.Value)
				check("Queue", ref.Queue(n.Name), n.AsQueue.Value)
				check("sub-queue", r.Sub("sub"), n.Subqueue.Value)
				check("bot form", ref.ParseBot(n.Name).String(), n.BotRefID.Value)
				check("bot error queue", ref.BotErrorQueue(n.Name), n.BotErrorQueue.Value)
				check("system form", ref.ParseSystem(n.Name).String(), n.SystemRefID.Value)
				check("system queue", ref.ParseSystem(n.Name).Queue(), n.SystemQueue.Value)
				o, sub, ok := r.Owner()
				if want := n.Owner.Value; ok != (want != nil) {
					t.Errorf("owner of %q found: %v, want %v", n.Name, ok, want != nil)
				} else if ok {
					check("owner type", string(o.Type), want.Type)
					check("owner id", o.ID, want.ID)
					if want.Queue == nil {
						check("owner's queue", sub, "")
					} else {
						check("owner's queue", sub, *want.Queue)
					}
				}
			})
		}
	}
}

func TestObjectsGiveWhatTheOriginalGives(t *testing.T) {
	for _, file := range []string{"refs.json", "refs_more.json"} {
		for _, o := range load(t, file).Objects {
			var object struct {
				Type string
				ID   any
			}
			if json.Unmarshal(o.Object, &object) != nil { // a bare number stands for its text
				object.ID = string(o.Object)
			}
			id := fmt.Sprint(object.ID)
			r := ref.FromObject(object.Type, id)
			if got := r.String(); got != o.RefID.Value {
				t.Errorf("%s: reference form %q, want %q", o.Object, got, o.RefID.Value)
			}
			if got := r.Queue(); got != o.AsQueue.Value {
				t.Errorf("%s: queue form %q, want %q", o.Object, got, o.AsQueue.Value)
			}
			if t := ref.Type(object.Type); t != ref.TypeQueue && t != ref.TypeSystem {
				object.Type = "bot" // what no type word says is a bot in the original's botRef
			}
			if got := ref.FromObject(object.Type, id).String(); got != o.BotRefID.Value {
				t.Errorf("%s: bot form %q, want %q", o.Object, got, o.BotRefID.Value)
			}
		}
	}
}

func TestSerialisedObjectIsItsQueue(t *testing.T) {
	var object struct{ Type, ID string }
	if err := json.Unmarshal(load(t, "refs.json").Serialised, &object); err != nil {
		t.Fatal(err)
	}
	if got := ref.FromObject(object.Type, object.ID).Queue(); got != "bot.abc.error" {
		t.Errorf("got %q", got)
	}
}

func TestZeroRefIsTheEmptyQueue(t *testing.T) {
	var r ref.Ref
	if r.String() != "queue:" || r.Queue() != "" || ref.Parse("") != (ref.Ref{Type: ref.TypeQueue}) {
		t.Errorf("got %q, %q, %v", r.String(), r.Queue(), ref.Parse(""))
	}
	if _, _, ok := (ref.Ref{ID: "bot.b"}).Owner(); !ok {
		t.Error("a Ref without a type is not taken for a queue")
	}
}

func TestQueueDoesNotAllocateForQueues(t *testing.T) {
	for _, s := range []string{"orders", "orders.priced", "queue:orders", "s_orders", "a:b", "bot:bot.b"} {
		if n := testing.AllocsPerRun(100, func() { _ = ref.Queue(s) }); n != 0 {
			t.Errorf("Queue(%q) allocates %v times", s, n)
		}
	}
}

func TestNamesThatCannotBeStoredAreRefused(t *testing.T) {
	long := strings.Repeat("x", ref.MaxQueueBytes)
	for _, ok := range []string{"q", "queue:q", "bot:b", "system:s", "a b", "é", long, "queue:" + long, "s_" + long, "q/_archive"} {
		if err := ref.ValidateQueue(ok); err != nil {
			t.Errorf("%.20q refused: %v", ok, err)
		}
	}
	for _, bad := range []string{
		"", "s_", "queue:", "queue:e_", "s_s_", "bot:", "system:", long + "x", "bot:" + long, strings.Repeat("é", 1025),
		"a\nb", "queue:q\nline", "a\tb", "a\x00", "a\x7f", "a\u0085", "a\u2028b", "\xff",
	} {
		if err := ref.ValidateQueue(bad); !errors.Is(err, ref.ErrInvalid) {
			t.Errorf("%.20q gives %v, want ErrInvalid", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"q", "QUEUE:q", "s_s_q", "queue:q\nline", "x system:y z", "robot:x", "bot.b.error", "\u017fystem:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := ref.Parse(s)
		if ref.Queue(s) != r.Queue() {
			t.Errorf("Queue(%q) = %q, Parse gives %q", s, ref.Queue(s), r.Queue())
		}
		if ref.Plain(s) && ref.Queue(s) != s {
			t.Errorf("%q is plain but its queue form is %q", s, ref.Queue(s))
		}
		if ref.ValidateQueue(s) != nil {
			return
		}
		if !utf8.ValidString(s) {
			t.Errorf("%q is valid but not UTF-8", s)
		}
		if again := ref.Parse(r.String()); again != r {
			t.Errorf("%q reads as %v, its reference form %q as %v", s, r, r, again)
		}
		if q := ref.FromObject("queue", r.Queue()).Queue(); len(q) > ref.MaxQueueBytes {
			t.Errorf("%.20q gives a queue of %d bytes", s, len(q))
		}
	})
}

func BenchmarkQueuePlain(b *testing.B) {
	for b.Loop() {
		_ = ref.Queue("orders.priced")
	}
}

func BenchmarkQueueTyped(b *testing.B) {
	for b.Loop() {
		_ = ref.Queue("queue:orders.priced")
	}
}
