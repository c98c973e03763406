package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/sdk/config"
)

// program builds and runs the user's bots, again and again as its source changes.
type program struct {
	a    *app
	pkg  string
	args []string
	url  string

	dir    string // of the binaries
	builds int
	cmd    *exec.Cmd
	exited chan error
}

// pollSource is how often the source is looked at.
const pollSource = 500 * time.Millisecond

// run runs the program until ctx ends. Only a first build that fails for want of a package is an error; later ones are told of.
func (p *program) run(ctx context.Context) (err error) {
	if p.dir, err = os.MkdirTemp("", "rstreams-dev-"); err != nil {
		return fmt.Errorf("cannot make a directory for the program: %w", err)
	}
	defer func() { _ = os.RemoveAll(p.dir) }()
	defer p.stop()
	dirs, err := p.sources(ctx)
	if err != nil {
		return err
	}
	seen := stamps(dirs)
	p.restart(ctx)
	tick := time.NewTicker(pollSource)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-p.exited:
			p.cmd, p.exited = nil, nil
			p.a.note("the program ended by itself (%s); it starts again when its source changes", exitText(err))
		case <-tick.C:
			now := stamps(dirs)
			if maps.Equal(now, seen) {
				continue
			}
			seen = now
			p.restart(ctx)
			// A change may have added packages.
			if more, err := p.sources(ctx); err == nil {
				dirs = more
				seen = stamps(dirs)
			}
		}
	}
}

// sources lists the directories of the program's own module that the package is built from.
func (p *program) sources(ctx context.Context) ([]string, error) {
	var out, msg bytes.Buffer
	c := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}", p.pkg)
	c.Stdout, c.Stderr = &out, &msg
	if err := c.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("the go command is not there; install Go to run a package")
		}
		return nil, usageError(fmt.Errorf("cannot find the package %s: %s", p.pkg, shorten(msg.String(), 300)))
	}
	return strings.Fields(out.String()), nil
}

// stamps tells the state of the Go files in dirs.
func stamps(dirs []string) map[string]int64 {
	m := map[string]int64{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // It is being replaced; the next look finds it.
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) != ".go" || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			if info, err := e.Info(); err == nil && info.Mode()&fs.ModeType == 0 {
				m[filepath.Join(dir, e.Name())] = info.ModTime().UnixNano()
			}
		}
	}
	return m
}

// restart builds the program, ends the one that runs and starts the new one.
func (p *program) restart(ctx context.Context) {
	p.builds++
	bin := filepath.Join(p.dir, fmt.Sprintf("bots-%d", p.builds))
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, p.pkg)
	build.Stdout, build.Stderr = p.a.Err, p.a.Err
	if err := build.Run(); err != nil {
		if ctx.Err() == nil {
			p.a.note("the program does not build; waiting for its source to change")
		}
		return
	}
	p.stop()
	cmd := exec.Command(bin, p.args...)
	cmd.Env = append(os.Environ(), config.Env+"="+p.url)
	cmd.Stdout, cmd.Stderr = p.a.Out, p.a.Err
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		p.a.note("cannot start the program: %v", err)
		return
	}
	p.a.note("running %s", p.pkg)
	exited := make(chan error, 1)
	p.cmd, p.exited = cmd, exited
	go func() { exited <- cmd.Wait() }()
}

// stop asks the program to end, and ends it if it does not.
func (p *program) stop() {
	if p.cmd == nil {
		return
	}
	if err := interrupt(p.cmd.Process); err != nil {
		_ = p.cmd.Process.Kill()
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-p.exited:
	case <-late.C:
		p.a.note("the program does not end; killing it")
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	p.cmd, p.exited = nil, nil
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}
