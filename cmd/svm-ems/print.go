package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Aliases: []string{"j"}, Usage: "print JSON"}
}

func noteFlag() cli.Flag {
	return &cli.StringFlag{Name: "note", Aliases: []string{"m"}, Usage: "why, in your `WORDS`, for the history"}
}

func colorFlag() cli.Flag {
	return &cli.BoolFlag{Name: "color", Usage: "colours (default: on a terminal)"}
}

// printJSON prints one value, indented.
func printJSON(c *cli.Context, v any) error {
	enc := json.NewEncoder(c.App.Writer)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// count writes "1 server", "2 servers".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// list writes "a, b", or "none".
func list(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// terminal is the file behind w or r, if it is a terminal.
func terminal(rw any) (*os.File, bool) {
	if w, ok := rw.(interface{ Unwrap() io.Writer }); ok {
		rw = w.Unwrap()
	}
	f, ok := rw.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// colored tells whether to print colours.
func colored(c *cli.Context) bool {
	if c.IsSet("color") {
		return c.Bool("color")
	}
	_, ok := terminal(c.App.Writer)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// userName is who gives the command: behind sudo, who called that.
func userName() string {
	if name := os.Getenv("SUDO_USER"); name != "" && name != "root" {
		return printable(name)
	}
	if u, err := user.Current(); err == nil {
		return printable(u.Username)
	}
	return "unknown"
}

// author is userName with the host.
func author() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return userName() + "@" + printable(host)
}

// printable is s on one line, without what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
