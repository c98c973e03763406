//go:build !windows

package cli

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps a terminal's interrupt from the program: it gets its own, once, when the command stops it. A second one would
// end it in the middle of its work.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// interrupt asks a program to end.
func interrupt(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
