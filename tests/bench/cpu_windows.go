package main

import "time"

// cpuTime is the time of day: on a quiet machine, it moves as the CPU time of a busy core does.
func cpuTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
