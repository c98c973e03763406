package quakes

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// csvHeader is the first row of the file.
const csvHeader = "eid,time,region,mag,class,joules,depth_km,lon,lat,place\n"

// csvFile is a CSV file that a crash cannot spoil. Each row begins with its event's id, so that opening the file again finds
// what it holds: a row that was cut short is removed, and events that are in the file already are passed over.
type csvFile struct {
	f    *os.File
	w    *bufio.Writer
	rows *csv.Writer
	last string // the id in the last row
}

func openCSV(path string) (*csvFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the CSV file: %w", err)
	}
	c := &csvFile{f: f}
	end, err := c.recover()
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the CSV file: %w", err)
	}
	c.w = bufio.NewWriter(f)
	c.rows = csv.NewWriter(c.w)
	if end == 0 {
		if _, err := c.w.WriteString(csvHeader); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("the CSV file: %w", err)
		}
	}
	return c, nil
}

// tailBytes is more than any two rows have.
const tailBytes = 64 << 10

// recover finds the end of the last whole row and the id in it. No field holds a line end, so lines are rows.
func (c *csvFile) recover() (int64, error) {
	info, err := c.f.Stat()
	if err != nil {
		return 0, err
	}
	from := max(0, info.Size()-tailBytes)
	tail := make([]byte, info.Size()-from)
	if _, err := c.f.ReadAt(tail, from); err != nil {
		return 0, err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if end == 0 {
		return 0, nil
	}
	row := tail[bytes.LastIndexByte(tail[:end-1], '\n')+1 : end]
	if id, _, ok := bytes.Cut(row, []byte(",")); ok && bytes.HasPrefix(id, []byte("z/")) {
		c.last = string(id)
	}
	return from + int64(end), nil
}

// add adds the row of event id, unless the file holds it.
func (c *csvFile) add(id string, q *Scored) error {
	if q.End || id <= c.last {
		return nil
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	err := c.rows.Write([]string{
		id, time.UnixMilli(q.Time).UTC().Format(time.RFC3339Nano), q.Region, number(q.Mag), q.Class, number(q.Joules),
		number(q.Depth), number(q.Lon), number(q.Lat), q.Place,
	})
	c.last = id
	return err
}

// sync makes the rows durable.
func (c *csvFile) sync() error {
	c.rows.Flush()
	return errors.Join(c.rows.Error(), c.w.Flush(), c.f.Sync())
}

func (c *csvFile) close() error {
	return errors.Join(c.sync(), c.f.Close())
}
