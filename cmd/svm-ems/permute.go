package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute moves a command's options before its arguments, so that they may stand
// anywhere: the library stops at the first argument. What follows -- stays.
func permute(a *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	out := slices.Clone(args[:1])
	flags, commands := a.Flags, a.Commands
	rest := args[1:]
	for len(rest) > 0 {
		n := optionWords(flags, rest)
		if n > 0 {
			out = append(out, rest[:min(n, len(rest))]...)
			rest = rest[min(n, len(rest)):]
			continue
		}
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(rest[0]) })
		if i < 0 {
			break
		}
		out = append(out, rest[0])
		flags, commands, rest = commands[i].Flags, commands[i].Subcommands, rest[1:]
	}
	var positional []string
	for len(rest) > 0 {
		if rest[0] == "--" {
			positional = append(positional, rest...)
			break
		}
		if n := min(optionWords(flags, rest), len(rest)); n > 0 {
			out = append(out, rest[:n]...)
			rest = rest[n:]
			continue
		}
		positional = append(positional, rest[0])
		rest = rest[1:]
	}
	return append(out, positional...)
}

// optionWords is how many words the option at the start of args takes; 0: it is none.
func optionWords(flags []cli.Flag, args []string) int {
	word := args[0]
	if len(word) < 2 || word[0] != '-' || word == "--" {
		return 0
	}
	name := strings.TrimLeft(word, "-")
	if strings.Contains(name, "=") {
		return 1
	}
	f := named(flags, name)
	if f == nil && !strings.HasPrefix(word, "--") {
		f = named(flags, name[len(name)-1:]) // -jm NOTE
	}
	if v, ok := f.(cli.DocGenerationFlag); ok && v.TakesValue() {
		return 2
	}
	return 1
}

func named(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}
