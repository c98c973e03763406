package cli

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: Windows passes an interrupt to the program by itself.
func ownGroup(*exec.Cmd) {}

// interrupt ends a program: Windows cannot ask it to end.
func interrupt(p *os.Process) error { return p.Kill() }
