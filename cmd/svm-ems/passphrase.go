package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/svm-cluster/svm/ems/station"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// Passphrases come from a file, a descriptor or the terminal: arguments and the
// environment can be seen by others.
func passphraseFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` whose first line is the passphrase; nobody else may read it"},
		&cli.IntFlag{Name: "passphrase-fd", Usage: "number of an open file `DESCRIPTOR` to read it from instead", Value: -1},
	}
}

const maxPassphrase = 4096

// passphrase reads it; fresh asks for it twice and refuses a short one. Without a flag
// and a terminal it fails.
func passphrase(c *cli.Context, fresh bool) (string, error) {
	var p string
	var err error
	switch {
	case c.IsSet("passphrase-file") && c.IsSet("passphrase-fd"):
		return "", errors.New("--passphrase-file and --passphrase-fd: give one of them")
	case c.IsSet("passphrase-file"):
		p, err = passphraseFile(c.String("passphrase-file"))
	case c.IsSet("passphrase-fd"):
		if c.Int("passphrase-fd") < 0 {
			return "", errors.New("--passphrase-fd: want the number of an open file")
		}
		// Not closed: it may be one of the standard three.
		p, err = firstLine(os.NewFile(uintptr(c.Int("passphrase-fd")), "the descriptor"))
	default:
		p, err = askPassphrase(c, fresh)
	}
	if err != nil {
		return "", fmt.Errorf("passphrase: %w", err)
	}
	if p == "" {
		return "", errors.New("passphrase: it is empty")
	}
	if fresh {
		err = station.CheckPassphrase(p)
	}
	return p, err
}

func passphraseFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: mode is %04o, others may read it: chmod 600 %[1]s", path, info.Mode().Perm())
	}
	return firstLine(f)
}

func firstLine(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPassphrase+1))
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	if len(line) > maxPassphrase {
		return "", fmt.Errorf("its line has more than %d bytes", maxPassphrase)
	}
	return string(bytes.TrimSuffix(line, []byte("\r"))), nil
}

func askPassphrase(c *cli.Context, fresh bool) (string, error) {
	in, ok := terminal(c.App.Reader)
	if !ok {
		return "", errors.New("there is no terminal to ask for it: give --passphrase-file FILE or --passphrase-fd N")
	}
	before, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", err
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(c.App.ErrWriter, prompt)
		b, err := unlessInterrupted(c.Context, func() ([]byte, error) { return term.ReadPassword(int(in.Fd())) })
		fmt.Fprintln(c.App.ErrWriter)
		if c.Context.Err() != nil {
			// Its reader still waits, with the echo off.
			err = errors.Join(err, term.Restore(int(in.Fd()), before))
		}
		return string(b), err
	}
	p, err := ask("Passphrase: ")
	if err != nil || !fresh {
		return p, err
	}
	again, err := ask("The same again: ")
	if err == nil && again != p {
		err = errors.New("they differ")
	}
	return p, err
}

// unlessInterrupted reads from a terminal, which nothing can stop: after an interrupt
// the reader is left to the process's end, which follows at once.
func unlessInterrupted[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		value, err := read()
		got <- answer{value, err}
	}()
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, errors.New("interrupted: nothing was done")
	}
}
