package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/registry"
)

// maxDeclarations is the most bytes of declarations that register takes at once.
const maxDeclarations = 16 << 20

func (a *app) registerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "register [FILE]",
		Short: "Register bots, systems and queue schemas",
		Long: "register registers what FILE, or standard input, declares: one JSON object with a declaration for each name, as stacks\n" +
			"write them for the bus's Register function and serverless-leo generates them:\n\n" +
			"  {\"orders-report\": {\"lambdaName\": \"report\", \"triggers\": [\"orders\"], \"settings\": {\"color\": \"red\"}}}\n\n" +
			"New bots start paused unless they say \"paused\": false. Registering again changes what is declared, and leaves the\n" +
			"rest, checkpoints, pauses and running bots alone. To take something away, declare that it is empty: \"time\": \"\",\n" +
			"\"triggers\": [], \"settings\": {}. Everything is checked first; with a fault nothing is written.",
		Args: args(0, 1, "[FILE]"),
		RunE: func(_ *cobra.Command, names []string) (err error) {
			in, what := a.In, "standard input"
			if len(names) == 1 && names[0] != "-" {
				f, err := os.Open(names[0])
				if err != nil {
					return inputError(fmt.Errorf("cannot read the declarations: %w", err))
				}
				defer func() { _ = f.Close() }()
				in, what = f, names[0]
			}
			text, err := io.ReadAll(io.LimitReader(in, maxDeclarations+1))
			if err != nil {
				return inputError(fmt.Errorf("cannot read the declarations: %w", err))
			}
			if len(text) > maxDeclarations {
				return inputError(fmt.Errorf("%s holds more than %d MB; register it in parts", what, maxDeclarations>>20))
			}
			var set registry.Set
			if err := json.Unmarshal(text, &set.Properties); err != nil {
				return inputError(fmt.Errorf("%s holds no JSON object of declarations by name: %w", what, err))
			}
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			result, err := registry.New(bus.Store(), time.Now).Apply(a.soft, "", &set, nil)
			if errors.Is(err, registry.ErrInvalid) {
				return inputError(err)
			}
			if err != nil {
				return err
			}
			return json.NewEncoder(a.Out).Encode(result)
		},
	}
}
