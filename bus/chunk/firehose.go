package chunk

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// MaxFirehoseText is the most text that FirehoseLine decodes from one line, in bytes.
const MaxFirehoseText = 64 << 20

// FirehoseLine returns the JSON lines that a line of a Firehose object stands for (bus.md 2.9): base64 of gzip, zlib or
// JSON, else the line itself. Base64 may be padded or not, of either alphabet, and several pieces may stand one after the
// other. The result aliases line where that is plain, and may hold several lines or, in a plain line, no JSON. The error
// wraps ErrCorrupt, ErrUnknownForm or ErrTooLarge.
func FirehoseLine(line []byte) ([]byte, error) {
	text, _, err := FirehoseText(line, MaxFirehoseText)
	return text, err
}

// FirehoseText is FirehoseLine with a limit of its own, in bytes of decoded text. Where that is passed, the error wraps ErrTooLarge
// and data is what the base64 stands for, in a form that OpenRecord takes.
func FirehoseText(line []byte, limit int64) (text, data []byte, err error) {
	// Base64 of gzip begins with H, of zlib and of an object with e; JSON never does.
	if len(line) == 0 || line[0] != 'H' && line[0] != 'e' {
		return line, nil, nil
	}
	if data, err = decodeBase64(line); err != nil {
		return nil, nil, err
	}
	if isGzip(data) {
		text, err = AppendGunzip(nil, data, limit)
	} else {
		text, err = readRecord(data, limit)
	}
	if err == nil || !errors.Is(err, ErrTooLarge) {
		data = nil
	}
	return text, data, err
}

// readRecord returns the text of a record, if it has at most limit bytes.
func readRecord(data []byte, limit int64) ([]byte, error) {
	r, err := OpenRecord(data)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // It only gives buffers back.
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, limit)
	}
	return text, nil
}

// decodeBase64 decodes pieces of base64, each of which may end in padding.
func decodeBase64(line []byte) ([]byte, error) {
	enc := base64.RawStdEncoding
	if bytes.ContainsAny(line, "-_") {
		enc = base64.RawURLEncoding
	}
	data := make([]byte, 0, enc.DecodedLen(len(line)))
	for rest := bytes.TrimSpace(line); len(rest) > 0; {
		piece := rest
		if i := bytes.IndexByte(rest, '='); i >= 0 {
			piece, rest = rest[:i], bytes.TrimLeft(rest[i:], "=")
		} else {
			rest = nil
		}
		var err error
		if data, err = enc.AppendDecode(data, piece); err != nil {
			return nil, fmt.Errorf("%w: the line is no base64: %w", ErrCorrupt, err)
		}
	}
	return data, nil
}
