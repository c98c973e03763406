package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// block is a run of lines of the input. It is handed from the goroutine that reads to the one that writes.
type block struct {
	text []byte
	// ends are where the lines end in text, without their line ends. The first line begins at 0, the others where the one
	// before ends.
	ends []int
	// long is how many bytes the last line has where text holds only its beginning; 0 where text holds all of it.
	long int64
	// first is the number of the first line, from 1, counted over all files.
	first int64
	// file and fileLine are where the first line stands; a block holds lines of one file.
	file     string
	fileLine int64
	// err ends the input after the lines; io.EOF is its proper end.
	err error
}

// place names line i of the block for people.
func (b *block) place(i int) string {
	if b.file == "" || b.file == "-" {
		return fmt.Sprintf("line %d", b.first+int64(i))
	}
	return fmt.Sprintf("line %d of %s", b.fileLine+int64(i), b.file)
}

const (
	// blockBytes is how much text makes a block; a longer line makes a block of its own.
	blockBytes = 256 << 10
	// maxInputLine is the longest line that is kept whole. Longer ones cannot be events.
	maxInputLine = 64 << 20
	// keptOfLine is how many bytes are kept of a line that is too long. It is more than blockBytes, so that such a line is the
	// last of its block.
	keptOfLine = 1 << 20
)

// input reads lines of files, or of in for "-", one after the other. The lines come in blocks, the last of which has an err.
// What is there is passed on without waiting for more, so that input which trickles in is not held back. When ctx ends the
// blocks end, though a read from a terminal or pipe may hang on until the process ends: no system can interrupt it.
func input(ctx context.Context, in io.Reader, files []string) <-chan *block {
	if len(files) == 0 {
		files = []string{"-"}
	}
	out := make(chan *block, 4)
	go func() {
		defer close(out)
		line := int64(1)
		for _, name := range files {
			n, err := inputFile(ctx, in, name, line, out)
			if line += n; err != nil {
				send(ctx, out, &block{first: line, file: name, err: err})
				return
			}
		}
		send(ctx, out, &block{first: line, err: io.EOF})
	}()
	return out
}

func send(ctx context.Context, out chan<- *block, b *block) bool {
	select {
	case out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// inputFile reads one file and returns how many lines it has.
func inputFile(ctx context.Context, in io.Reader, name string, line int64, out chan<- *block) (int64, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return 0, inputError(fmt.Errorf("cannot read the input: %w", err))
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	r := bufio.NewReaderSize(in, blockBytes)
	lines := int64(0)
	for {
		b := &block{first: line + lines, file: name, fileLine: lines + 1, text: make([]byte, 0, blockBytes+4<<10)}
		var err error
		for err == nil {
			b.text, b.long, err = appendLine(ctx, b.text, r)
			if err == nil || errors.Is(err, io.EOF) && len(b.text) > lastEnd(b.ends) {
				b.ends = append(b.ends, len(b.text)) // after another error, half a line is no line
			}
			if len(b.text) >= blockBytes || r.Buffered() == 0 {
				break
			}
		}
		lines += int64(len(b.ends))
		if len(b.ends) > 0 && !send(ctx, out, b) {
			return lines, context.Cause(ctx)
		}
		switch {
		case errors.Is(err, io.EOF):
			return lines, nil
		case err != nil && ctx.Err() != nil:
			return lines, context.Cause(ctx)
		case err != nil:
			return lines, inputError(fmt.Errorf("cannot read the input: %w", err))
		}
	}
}

func lastEnd(ends []int) int {
	if len(ends) == 0 {
		return 0
	}
	return ends[len(ends)-1]
}

// appendLine appends the next line, with what ends it. With io.EOF, what it appended is the last line, or nothing. Of a line of
// more than maxInputLine bytes it appends the beginning, reads the rest, and returns in long how many bytes the line has without
// its end.
func appendLine(ctx context.Context, text []byte, r *bufio.Reader) (_ []byte, long int64, err error) {
	start := len(text)
	for {
		part, err := r.ReadSlice('\n')
		if long > 0 {
			long += int64(len(part))
		} else if text = append(text, part...); len(text)-start > maxInputLine {
			long = int64(len(text) - start)
			text = bytes.Clone(text[:start+keptOfLine]) // The rest need not stay in memory until the block is written.
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && ctx.Err() == nil:
		case errors.Is(err, bufio.ErrBufferFull):
			return text, long, context.Cause(ctx)
		case long > 0 && err == nil:
			return text, long - 1, nil // without its line end
		default:
			return text, long, err
		}
	}
}

// cut returns how many bytes line i has where line returns only its beginning, else 0.
func (b *block) cut(i int) int64 {
	if i == len(b.ends)-1 {
		return b.long
	}
	return 0
}

// line returns line i without its line end and surrounding blanks.
func (b *block) line(i int) []byte {
	from := 0
	if i > 0 {
		from = b.ends[i-1]
	}
	return bytes.TrimSpace(b.text[from:b.ends[i]])
}
