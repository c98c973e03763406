package quakes

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Feature is what the demo uses of a record of the feed. Fields that are not listed stay in the event's payload.
type Feature struct {
	ID         string `json:"id"`
	Properties struct {
		// Mag is the magnitude, nil where the survey has none yet.
		Mag *float64 `json:"mag"`
		// Place says where in words: "4km W of Castaic, CA".
		Place string `json:"place"`
		// Time is when it happened, in epoch milliseconds.
		Time int64 `json:"time"`
		// Type is "earthquake", "explosion", "quarry blast" and the like.
		Type string `json:"type"`
	} `json:"properties"`
	Geometry struct {
		// Coordinates are longitude and latitude in degrees and depth in km.
		Coordinates [3]float64 `json:"coordinates"`
	} `json:"geometry"`
}

// ErrFeature reports a record that the demo cannot score. Callers should send it to the dead-letter queue.
var ErrFeature = errors.New("not a usable earthquake record")

// Scored is the payload of an event in quakes.scored: an earthquake with its class and energy, or the end of the feed.
type Scored struct {
	ID     string `json:"id"`
	Time   int64  `json:"time"`
	Region string `json:"region,omitempty"`
	Place  string `json:"place,omitempty"`
	// Mag is the magnitude, Class its name on the usual scale, Joules the energy that it set free.
	Mag    float64 `json:"mag"`
	Class  string  `json:"class,omitempty"`
	Joules float64 `json:"joules"`
	Lon    float64 `json:"lon"`
	Lat    float64 `json:"lat"`
	Depth  float64 `json:"depth_km"`
	// End marks the end of the feed: no quake before Time will follow.
	End bool `json:"end,omitempty"`
}

// EndOfFeed is the payload that the source writes after the last record. Whoever counts by the hour closes the last hour
// when it comes.
type EndOfFeed struct {
	// Generated is when the survey made the feed, in epoch milliseconds.
	Generated int64 `json:"generated"`
}

// Score classifies a record of quakes.raw. The bool is false, with a nil error, for records that are no earthquakes
// (explosions, quarry blasts). Errors wrap ErrFeature.
func Score(payload json.RawMessage) (Scored, bool, error) {
	var end EndOfFeed
	if err := json.Unmarshal(payload, &end); err == nil && end.Generated > 0 {
		return Scored{ID: "end-of-feed", Time: end.Generated, End: true}, true, nil
	}
	var f Feature
	if err := json.Unmarshal(payload, &f); err != nil {
		return Scored{}, false, fmt.Errorf("%w: %w", ErrFeature, err)
	}
	p := f.Properties
	switch {
	case f.ID == "" || p.Time == 0 || p.Type == "":
		return Scored{}, false, fmt.Errorf("%w: id, time or type is missing", ErrFeature)
	case p.Type != "earthquake":
		return Scored{}, false, nil
	case p.Mag == nil:
		return Scored{}, false, fmt.Errorf("%w: %s has no magnitude", ErrFeature, f.ID)
	}
	return Scored{
		ID: f.ID, Time: p.Time, Region: Region(p.Place), Place: p.Place, Mag: *p.Mag, Class: Class(*p.Mag),
		Joules: Joules(*p.Mag), Lon: f.Geometry.Coordinates[0], Lat: f.Geometry.Coordinates[1],
		Depth: f.Geometry.Coordinates[2],
	}, true, nil
}

// Class names a magnitude on the usual scale, from "micro" to "great".
func Class(mag float64) string {
	switch {
	case mag >= 8:
		return "great"
	case mag >= 7:
		return "major"
	case mag >= 6:
		return "strong"
	case mag >= 5:
		return "moderate"
	case mag >= 4:
		return "light"
	case mag >= 3:
		return "minor"
	}
	return "micro"
}

// Joules is the energy that a quake of magnitude mag radiates, by Gutenberg and Richter: log10 E = 4.8 + 1.5 M. It is
// rounded to two significant digits, which is more than the formula is worth.
func Joules(mag float64) float64 {
	e := math.Pow(10, 4.8+1.5*mag)
	unit := math.Pow(10, math.Floor(math.Log10(e))-1)
	return math.Round(e/unit) * unit
}

// regions are the names of places that the survey abbreviates.
func regionName(abbreviated string) string {
	switch abbreviated {
	case "CA":
		return "California"
	case "MX":
		return "Mexico"
	}
	return abbreviated
}

// Region is the last part of a place: "California" of "4km W of Castaic, CA", or the whole of it where there are no commas.
func Region(place string) string {
	if i := strings.LastIndexByte(place, ','); i >= 0 {
		place = place[i+1:]
	}
	if place = strings.TrimSpace(place); place == "" {
		return "unknown"
	}
	return regionName(place)
}

// Hour is the start of the UTC hour of ms, both in epoch milliseconds.
func Hour(ms int64) int64 {
	return time.UnixMilli(ms).Truncate(time.Hour).UnixMilli()
}

// RegionHour is the payload of an event in quakes.hourly: the quakes of one region in one hour.
type RegionHour struct {
	Region string `json:"region"`
	// Hour is the start of the hour in RFC 3339, UTC.
	Hour  string `json:"hour"`
	Count int    `json:"count"`
	// MaxMag is the greatest magnitude and Strongest the id of that quake (the first of equals).
	MaxMag    float64 `json:"max_mag"`
	Strongest string  `json:"strongest"`
	Joules    float64 `json:"joules"`
}

// Add counts q, which must be of the same region and hour; the first quake sets both.
func (r *RegionHour) Add(q Scored) {
	if r.Count == 0 {
		r.Region, r.Hour = q.Region, time.UnixMilli(Hour(q.Time)).UTC().Format(time.RFC3339)
	}
	if r.Count == 0 || q.Mag > r.MaxMag {
		r.MaxMag, r.Strongest = q.Mag, q.ID
	}
	r.Count++
	r.Joules += q.Joules
}
