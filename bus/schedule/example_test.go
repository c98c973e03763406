package schedule_test

import (
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/schedule"
)

func ExampleParse() {
	s, err := schedule.Parse("every weekday at 9:00", "Europe/Berlin")
	if err != nil {
		fmt.Println(err)
		return
	}
	friday := time.Date(2024, 3, 29, 12, 0, 0, 0, time.UTC)
	fmt.Println(s.Next(friday)) // summer time began on Sunday

	_, err = schedule.Parse("0 25 * * *", "")
	fmt.Println(err)
	// Output:
	// 2024-04-01 07:00:00 +0000 UTC
	// invalid schedule "0 25 * * *": at character 3: "25" is no hour, use 0-23
}

// A scheduler that was down finds with Between what it missed, and runs it once.
func ExampleSchedule_Between() {
	s, err := schedule.Parse("*/15 * * * *", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	down := time.Date(2024, 1, 2, 3, 4, 0, 0, time.UTC)
	up := down.Add(50 * time.Minute)
	fmt.Println(s.Between(down, up))
	// Output:
	// 2024-01-02 03:45:00 +0000 UTC true
}
