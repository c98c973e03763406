package quakes

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Totals sums up events of quakes.hourly.
type Totals struct {
	Hours, Regions   int
	Count            int
	MaxMag           float64
	Where, Strongest string
	Joules           float64

	hours, regions map[string]bool
}

// Sum reads all of quakes.hourly and sums it up.
func Sum(ctx context.Context, bus *rstreams.Bus) (Totals, error) {
	var t Totals
	for e, err := range bus.Read(ctx, HourlyQueue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			return t, err
		}
		var r RegionHour
		if err := json.Unmarshal(e.Payload, &r); err != nil {
			return t, fmt.Errorf("event %s: %w", e.EID, err)
		}
		t.Add(r)
	}
	return t, nil
}

// Add counts an event.
func (t *Totals) Add(r RegionHour) {
	if t.hours == nil {
		t.hours, t.regions = map[string]bool{}, map[string]bool{}
	}
	t.hours[r.Hour], t.regions[r.Region] = true, true
	t.Hours, t.Regions = len(t.hours), len(t.regions)
	if t.Count == 0 || r.MaxMag > t.MaxMag {
		t.MaxMag, t.Where, t.Strongest = r.MaxMag, r.Region, r.Strongest
	}
	t.Count += r.Count
	t.Joules += r.Joules
}

// String is the totals in one line.
func (t Totals) String() string {
	if t.Count == 0 {
		return "totals: no quakes yet"
	}
	return fmt.Sprintf("totals: %d quakes in %d hours and %d regions, strongest M %.1f (%s), %.2g J in all",
		t.Count, t.Hours, t.Regions, t.MaxMag, t.Where, t.Joules)
}
