package rstreamscdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// module is where the bus's functions are.
const module = "github.com/rstreams-go/rstreams"

// buildTime bounds a build: the first one on a machine compiles the AWS SDK.
const buildTime = 15 * time.Minute

// buildBus builds the named functions of the bus into NAME/bootstrap below dir. It builds them in their own module, with the
// versions that they were tested with, wherever the app is that deploys them.
func buildBus(ctx context.Context, dir, architecture string, names []string) error {
	root, err := output(ctx, "", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	if root == "" {
		return fmt.Errorf("the source of %s is not at hand, perhaps because modules are vendored; build its functions with scripts/build-lambdas and give their directory as Code", module)
	}
	packages := make([]string, len(names))
	for i, n := range names {
		packages[i] = "./lambdas/" + n
	}
	// One build for all shares what they have in common. A program takes the name of its directory.
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := build(ctx, root, bin+string(filepath.Separator), architecture, packages...); err != nil {
		return err
	}
	for _, n := range names {
		if err := os.Mkdir(filepath.Join(dir, n), 0o755); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(bin, n), filepath.Join(dir, n, "bootstrap")); err != nil {
			return err
		}
	}
	return nil
}

// buildProgram builds a main package, as ./cmd/orders or an import path, into dir/bootstrap.
func buildProgram(ctx context.Context, dir, architecture, entry string) error {
	// go build makes the file of a library an archive, which would not run.
	name, err := output(ctx, "", "list", "-f", "{{.Name}}", entry)
	if err != nil {
		return err
	}
	if name != "main" {
		return fmt.Errorf("Entry %s is package %s, not a main package", entry, name)
	}
	return build(ctx, "", filepath.Join(dir, "bootstrap"), architecture, entry)
}

// build runs go build for Lambda. The same source gives the same bytes, so that a deployment without changes changes nothing.
func build(ctx context.Context, dir, out, architecture string, packages ...string) error {
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-tags", "lambda.norpc,rstreams_lambda", "-ldflags", "-s -w", "-o", out}, packages...)
	goarch := "arm64"
	if architecture == x86 {
		goarch = "amd64"
	}
	_, err := run(ctx, dir, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + goarch, "GOFLAGS=", "GOWORK=off"}, args...)
	return err
}

// output returns what the go command prints.
func output(ctx context.Context, dir string, args ...string) (string, error) {
	text, err := run(ctx, dir, nil, args...)
	return strings.TrimSpace(text), err
}

// run runs the go command. Its error has what the command said.
func run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("the go command is missing: it builds the functions; install it from https://go.dev/dl")
	case err != nil:
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// built checks that a directory has the programs of functions.
func built(dir string, names ...string) error {
	for _, n := range names {
		file := filepath.Join(dir, filepath.FromSlash(path.Join(n, "bootstrap")))
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			return fmt.Errorf("Code: %s is missing; scripts/build-lambdas makes it", file)
		}
	}
	return nil
}
