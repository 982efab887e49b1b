// Command svm-fwd is the director: it forwards packets for virtual services to
// real servers by direct routing. It is also the tool that rules a running one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

const defaultSocket = "/run/svm/fwd.sock"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args, os.Stdout, os.Stderr, "/etc")
	stop()
	os.Exit(code)
}

// errSaid ends a command that failed and has said why.
var errSaid = errors.New("said")

// execute is the whole program; it returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer, etc string) int {
	out := &errWriter{Writer: stdout}
	err := app(out, stderr, etc).RunContext(ctx, args)
	if err == nil && out.err != nil {
		err = fmt.Errorf("write the output: %w", out.err)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSaid):
		return 1
	}
	fmt.Fprintf(stderr, "svm-fwd: %v\n", err)
	return 1
}

// errWriter remembers that something could not be written, so that a full disk is
// an error although nobody looks at each print.
type errWriter struct {
	io.Writer
	err error
}

func (w *errWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil && w.err == nil {
		w.err = err
	}
	return n, err
}

// app makes the commands; etc is the folder of hosts and services.
func app(stdout, stderr io.Writer, etc string) *cli.App {
	run := runCommand()
	run.Before = func(c *cli.Context) error {
		if slices.Contains(c.LocalFlagNames(), "socket") {
			return nil
		}
		return c.Set("socket", socketPath(c)) // it may stand before the command
	}
	return &cli.App{
		Name:  "svm-fwd",
		Usage: "layer-4 load balancer by direct routing",
		Description: "run is the daemon; check and doctor need none; all other commands ask a running\n" +
			"daemon over its socket, which only its user and root may use.\n" +
			"Every command prints errors on stderr and exits 1 when something is wrong.",
		Version: version(),
		Writer:  stdout, ErrWriter: stderr,
		HideHelpCommand:        true,
		UseShortOptionHandling: true,
		// Errors come back from RunContext; nothing below main exits.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return err },
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("no command %q: see svm-fwd --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Flags: []cli.Flag{socketFlag(defaultSocket)},
		Commands: []*cli.Command{
			run,
			checkCommand(),
			listCommand(etc),
			statusCommand(),
			explainCommand(),
			serverCommand(),
			doctorCommand(),
			haCommand(),
			genkeyCommand(),
			topCommand(),
			monitorCommand(),
			saveCommand(),
			restoreCommand(),
			importCommand(),
			reloadCommand(),
			enrollCommand(),
			receiveCommand(),
			provisionCommand(),
			firstbootCommand(),
		},
	}
}

func socketFlag(value string) cli.Flag {
	return &cli.StringFlag{Name: "socket", Usage: "`PATH` of the daemon's Unix socket", Value: value}
}

// asks makes a command one that talks to the daemon: it takes --socket itself too.
func asks(cmd *cli.Command) *cli.Command {
	cmd.Flags = append(cmd.Flags, &cli.StringFlag{Name: "socket", Usage: "`PATH` of the daemon's Unix socket (default: " + defaultSocket + ")"})
	cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return err }
	return cmd
}

// socketPath is the --socket given last, wherever it stands.
func socketPath(c *cli.Context) string {
	for _, at := range c.Lineage() {
		if at.App != nil && slices.Contains(at.LocalFlagNames(), "socket") {
			return at.String("socket")
		}
	}
	return defaultSocket
}

func client(c *cli.Context) *control.Client { return control.NewClient(socketPath(c)) }

// arguments returns the command's arguments, or how it is used if there are not
// between least and most of them.
func arguments(c *cli.Context, least, most int) ([]string, error) {
	args := c.Args().Slice()
	for i, a := range args {
		if i > 0 && len(a) > 1 && a[0] == '-' {
			return nil, fmt.Errorf("%s stands behind the arguments: options come before them", a)
		}
	}
	if len(args) < least || len(args) > most {
		return nil, errors.New(strings.TrimSpace("usage: " + c.Command.HelpName + " [options] " + c.Command.ArgsUsage))
	}
	return args, nil
}

// version is what the module was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v = "devel-" + s.Value[:12]
			}
		}
	}
	return v
}
