package eid_test

import (
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
)

func ExampleNew() {
	at := time.Date(2024, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	id, err := eid.New(at.UnixMilli(), 5)
	fmt.Println(id, err)
	fmt.Printf("%q\n", eid.After(id.String()))
	// Output:
	// z/2024/01/02/03/04/1704164645678-0000005 <nil>
	// "z/2024/01/02/03/04/1704164645678-0000005 "
}

func ExampleFromTime() {
	at := time.Date(2024, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	for _, g := range []eid.Granularity{eid.Year, eid.Date, eid.Minute, eid.Second, eid.Millisecond} {
		pos, err := eid.FromTime(at, g)
		fmt.Println(pos, err)
	}
	// Output:
	// z/2024/ <nil>
	// z/2024/01/02/ <nil>
	// z/2024/01/02/03/04/ <nil>
	// z/2024/01/02/03/04/1704164645000 <nil>
	// z/2024/01/02/03/04/1704164645678 <nil>
}

func ExampleTime() {
	for _, pos := range []string{"z/2024/03", "z/2024/01/02/03/04/1704164645678-0000005", "z/2024/02/30"} {
		fmt.Println(eid.Time(pos))
	}
	// Output:
	// 2024-03-01 00:00:00 +0000 UTC <nil>
	// 2024-01-02 03:04:05.678 +0000 UTC <nil>
	// 0001-01-01 00:00:00 +0000 UTC time does not fit an event id: "z/2024/02/30" is no date of the calendar
}
