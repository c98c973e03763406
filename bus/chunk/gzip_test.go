package chunk

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

func TestMembersBeginAsThoseOfNodeDo(t *testing.T) {
	for _, text := range []string{"", "{}\n", "x"} {
		gz, ok := bytes.CutPrefix(AppendGzip([]byte("before"), []byte(text)), []byte("before"))
		if !ok || !bytes.HasPrefix(gz, []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}) { // W1
			t.Errorf("%q: % x", text, gz)
		}
		z, err := stdgzip.NewReader(bytes.NewReader(gz))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(z); err != nil || string(back) != text {
			t.Errorf("%q became %q, %v", text, back, err)
		}
	}
}

func TestGzipIsTheSameWhoeverDoesIt(t *testing.T) {
	text, _ := chunkText(t)
	want := AppendGzip(nil, text)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range 4 {
				AppendGzip(nil, text[:len(text)/(n+2)])
				if !bytes.Equal(AppendGzip(nil, text), want) {
					t.Error("the same text gave other bytes")
				}
			}
		})
	}
	wg.Wait()
}

func TestGunzipReadsAllMembersUpToTheLimit(t *testing.T) {
	text, _ := chunkText(t)
	half := len(text) / 2
	gz := AppendGzip(AppendGzip(AppendGzip(nil, text[:half]), nil), text[half:])
	for _, dst := range [][]byte{nil, []byte("before"), make([]byte, 3, 300<<10)} {
		for _, limit := range []int64{int64(len(text)), math.MaxInt64, int64(len(text)) + 1} {
			got, err := AppendGunzip(dst, gz, limit)
			if err != nil || !bytes.Equal(got[len(dst):], text) || !bytes.Equal(got[:len(dst)], dst) {
				t.Errorf("limit %d: %d bytes, %v", limit, len(got)-len(dst), err)
			}
		}
		for _, limit := range []int64{int64(len(text)) - 1, int64(half), 1, 0, -1, math.MinInt64} {
			got, err := AppendGunzip(dst, gz, limit)
			if !errors.Is(err, ErrTooLarge) || !bytes.Equal(got, dst) {
				t.Errorf("limit %d: %d bytes, %v", limit, len(got), err)
			}
		}
	}
	if got, err := AppendGunzip(nil, AppendGzip(nil, nil), 0); err != nil || len(got) != 0 {
		t.Errorf("nothing within 0 bytes: %q, %v", got, err)
	}
}

// damaged returns ways in which gz, which holds at least 32 bytes, may be damaged.
func damaged(gz []byte) map[string][]byte {
	flip := func(i int) []byte {
		d := bytes.Clone(gz)
		d[i] ^= 0x10
		return d
	}
	return map[string][]byte{
		"nothing": {}, "one byte": gz[:1], "cut header": gz[:8], "cut data": gz[:len(gz)/2], "cut checksum": gz[:len(gz)-5], "cut size": gz[:len(gz)-1],
		"other method": flip(2), "checksum": flip(len(gz) - 6), "size": flip(len(gz) - 1), "trailing zero": append(bytes.Clone(gz), 0),
		"trailing text": append(bytes.Clone(gz), "{}\n"...), "half a second member": append(bytes.Clone(gz), gz[:len(gz)/2]...), "no gzip": []byte("{\"a\":1}\n{\"a\":1}\n"),
	}
}

func TestDamageIsFoundAndNothingHalfIsReturned(t *testing.T) {
	text, _ := chunkText(t)
	gz := AppendGzip(nil, text)
	dst := []byte("before")
	for name, data := range damaged(gz) {
		if got, err := AppendGunzip(dst, data, 1<<20); !errors.Is(err, ErrCorrupt) || string(got) != "before" {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		r, err := NewGunzip(bytes.NewReader(data))
		if err == nil {
			_, err = io.ReadAll(r)
			if cerr := r.Close(); cerr != nil {
				t.Error(cerr)
			}
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, streamed: %v", name, err)
		}
	}
	for range 200 {
		data := bytes.Clone(gz)
		data[10+rand.IntN(len(data)-10)] ^= byte(1 + rand.IntN(255))
		if _, err := AppendGunzip(nil, data, 1<<20); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("a changed byte is not found: %v", err)
		}
	}
}

var errDisk = errors.New("disk on fire")

// failing gives data and then an error.
type failing struct {
	r io.Reader
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = errDisk
	}
	return n, err
}

func TestAFailureToReadIsNoDamage(t *testing.T) {
	gz := AppendGzip(nil, []byte("{\"a\":1}\n"))
	for cut := range len(gz) + 1 {
		r, err := NewGunzip(failing{bytes.NewReader(gz[:cut])})
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if !errors.Is(err, errDisk) || errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func TestAReaderIsOfNoUseOnceClosed(t *testing.T) {
	for name, data := range map[string][]byte{"gzip": AppendGzip(nil, []byte("{}\n{}\n")), "zlib": zlibText(t, "{}\n{}\n", 6)} {
		r, err := OpenRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n, err := r.Read(make([]byte, 9)); n != 0 || err == nil || err == io.EOF {
			t.Errorf("%s: %d bytes after Close, %v", name, n, err)
		}
	}
}

// A bomb is some 1000 times larger than it looks. Reading it as a stream, or up to a limit, must not hold it in memory.
func TestABombIsNotHeldInMemory(t *testing.T) {
	const size = 64 << 20
	var bomb bytes.Buffer
	z, err := stdgzip.NewWriterLevel(&bomb, stdgzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for block, n := make([]byte, 1<<20), 0; n < size; n += len(block) {
		if _, err := z.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := AppendGunzip(nil, bomb.Bytes(), 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	r, err := OpenRecord(bomb.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	lines := NewLines(r, 1<<20)
	if line, err := lines.Next(); !errors.Is(err, ErrLineTooLong) {
		t.Errorf("%d bytes, %v", len(line), err)
	}
	if line, err := lines.Next(); err != io.EOF {
		t.Errorf("%d bytes, %v", len(line), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d MiB were allocated", used>>20)
	}
}
