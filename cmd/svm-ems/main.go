// Command svm-ems is the station: it turns one cluster file into the configuration of
// every machine, delivers it on line or by a medium, and keeps the history.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// errSaid ends a command that failed and has said why.
var errSaid = errors.New("said")

// execute is the whole program; it returns the exit code.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &errWriter{Writer: stdout}
	a := app(stdin, out, stderr)
	err := a.RunContext(ctx, permute(a, args))
	if err == nil && out.err != nil {
		err = fmt.Errorf("write the output: %w", out.err)
	}
	var problems cluster.Problems
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSaid):
		return 1
	case errors.As(err, &problems):
		// They name their file themselves, for editors to follow.
		fmt.Fprintf(stderr, "%v\n%s: nothing was changed\n", problems, count(len(problems), "problem"))
		return 1
	}
	fmt.Fprintf(stderr, "svm-ems: %v\n", err)
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

// Unwrap is what it writes to, to see whether that is a terminal.
func (w *errWriter) Unwrap() io.Writer { return w.Writer }

func app(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:  "svm-ems",
		Usage: "the station: one file configures the farm",
		Description: "init makes a station from one cluster file. Then, for each change: edit the file,\n" +
			"svm-ems check FILE, svm-ems plan FILE, svm-ems push FILE -m NOTE. All of the farm is on\n" +
			"the old configuration or on the new one, never between.\n" +
			"Every command prints errors on stderr and exits 1 when something is wrong.",
		Version: version(),
		Reader:  stdin, Writer: stdout, ErrWriter: stderr,
		HideHelpCommand:        true,
		UseShortOptionHandling: true,
		// Errors come back from RunContext; nothing below main exits.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return err },
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("no command %q: see svm-ems --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "state", Usage: "`DIR` with the station's keys and history", Value: station.DefaultDir},
			&cli.DurationFlag{Name: "lock-wait", Usage: "how long to wait while another operator changes the station, as a `DURATION` such as 30s"},
		},
		Commands: all(
			initCommand(), checkCommand(), planCommand(), commitCommand(), pushCommand(), imageCommand(), statusCommand(),
			historyCommand(), showCommand(), diffCommand(), rollbackCommand(), enrollCommand(), tokenCommand(),
			backupCommand(), restoreCommand(), versionCommand(),
		),
	}
}

// all gives every command what is the same for all.
func all(commands ...*cli.Command) []*cli.Command {
	for _, cmd := range commands {
		cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return err }
		cmd.HideHelpCommand = true
		cmd.UseShortOptionHandling = true
		all(cmd.Subcommands...)
	}
	return commands
}

// open opens the station.
func open(c *cli.Context) (*station.Station, error) { return station.Open(c.String("state")) }

// change opens the station and holds its lock while do runs.
func change(c *cli.Context, do func(*station.Station) error) error {
	s, err := open(c)
	if err != nil {
		return err
	}
	l, err := s.Lock(c.Context, userName(), "svm-ems "+verb(c), c.Duration("lock-wait"))
	var locked *station.LockedError
	if errors.As(err, &locked) {
		return fmt.Errorf("%w: wait for it, or give --lock-wait 60s before the command", err)
	}
	if err != nil {
		return err
	}
	return errors.Join(do(s), l.Release())
}

// verb is the command without the program's name: "image write".
func verb(c *cli.Context) string {
	_, v, _ := strings.Cut(c.Command.HelpName, " ")
	return v
}

// arguments returns the command's arguments, or how it is used if there are not
// between least and most of them.
func arguments(c *cli.Context, least, most int) ([]string, error) {
	args := c.Args().Slice()
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

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version of this program",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.App.Writer, "svm-ems", version())
			return err
		},
	}
}
