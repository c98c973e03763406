package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// peakMemory is the most resident memory that a running process has had so far, in bytes, or 0 on systems that do not tell. The
// usage that is told at its end would not do: it counts what the parent had when it made the process.
func peakMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}
