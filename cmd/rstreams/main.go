// Command rstreams runs, feeds, reads and inspects an RStreams bus. `rstreams help` lists its commands, docs/cli.md explains
// them.
package main

import (
	"os"

	"github.com/rstreams-go/rstreams/cmd/rstreams/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
