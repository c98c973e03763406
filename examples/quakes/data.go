package quakes

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/gzip"
)

// feed is a week of the U.S. Geological Survey's earthquake feed; data/README.md tells where it comes from.
//
//go:embed data/usgs-all-week-2018-02-07.jsonl.gz
var feed []byte

// FeedGenerated is when the survey made the feed, in epoch milliseconds: every quake in it is older.
const FeedGenerated = 1517968154000

// Features yields the feed's records, oldest first: GeoJSON features, byte for byte as the survey published them. An error
// is the last thing it yields.
func Features() iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		zr, err := gzip.NewReader(bytes.NewReader(feed))
		if err != nil {
			yield(nil, fmt.Errorf("quakes: open the feed: %w", err))
			return
		}
		r := bufio.NewReader(zr)
		for {
			line, err := r.ReadBytes('\n')
			if line = bytes.TrimSuffix(line, []byte("\n")); len(line) > 0 && !yield(line, nil) {
				return
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("quakes: read the feed: %w", err))
				return
			}
		}
	}
}

// FeedRecords is how many records the feed has.
const FeedRecords = 1707
