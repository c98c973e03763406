package quakes_test

import (
	"fmt"

	"github.com/rstreams-go/rstreams/examples/quakes"
)

func Example() {
	for raw, err := range quakes.Features() {
		if err != nil {
			fmt.Println(err)
			return
		}
		quake, ok, err := quakes.Score(raw)
		if err != nil {
			fmt.Println(err)
			return
		}
		if ok && quake.Mag > 6 {
			fmt.Printf("M %.1f %s, %s: %s\n", quake.Mag, quake.Class, quake.Region, quake.Place)
		}
	}
	// Output:
	// M 6.1 strong, Afghanistan: 35km S of Jarm, Afghanistan
	// M 6.1 strong, Taiwan: 21km NNE of Hualian, Taiwan
	// M 6.4 strong, Taiwan: 22km NNE of Hualian, Taiwan
}
