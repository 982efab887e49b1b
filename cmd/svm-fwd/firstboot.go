package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func firstbootCommand() *cli.Command {
	return &cli.Command{
		Name: "firstboot", Usage: "configure this director, and its real servers, from a floppy or USB image",
		Description: "Looks for a medium of svm-ems image, believes it only with the signature of the\n" +
			"station that this machine was enrolled with, configures this director and hands\n" +
			"the real servers theirs. A medium that is damaged, foreign or older than what this\n" +
			"machine has leaves everything as it was.",
		Flags: []cli.Flag{
			nodeFlag(), storeFlag(),
			&cli.StringFlag{Name: "medium", Usage: "`PATH` of the device or image file (default: every block device labelled " + bundle.Label + ")"},
			&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` with the medium's passphrase, for a machine that the station knew no key of (default: ask on a terminal)"},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn}))
			r, err := receiver(c, log)
			if err != nil {
				return err
			}
			f := &firstboot{r: r, out: c.App.Writer, passphrase: func() (string, error) { return passphrase(c) }}
			return f.run(c.Context, c.String("medium"))
		},
	}
}

// firstboot configures this director from a medium.
type firstboot struct {
	r          *push.Receiver
	out        io.Writer
	passphrase func() (string, error)
}

func (f *firstboot) run(ctx context.Context, medium string) error {
	state, err := f.r.Store.State(ctx)
	if err != nil {
		return err
	}
	b, m, err := f.best(ctx, medium, &state)
	if errors.Is(err, bundle.SameGeneration) {
		fmt.Fprintf(f.out, "generation %d is here already: nothing to do\n", state.Confirmed)
		return nil
	}
	if err != nil {
		return err
	}
	secrets, err := f.secrets(b, m)
	if err != nil {
		return err
	}
	conf, signed, err := b.Director(f.r.Node, secrets)
	if err != nil {
		return err
	}
	proof := machine.Proof{Manifest: []byte(signed.Manifest), Signature: []byte(signed.Signature), Bundle: m.Bundle, BundleSig: m.Signature}
	if err := f.r.Store.Stage(ctx, conf, proof); err != nil {
		return err
	}
	if err := f.r.Store.Switch(ctx, b.Generation); err != nil {
		return err
	}
	if err := f.r.Store.Confirm(ctx, b.Generation); err != nil {
		return err
	}
	fmt.Fprintf(f.out, "%s: on generation %d of cluster %s\n", f.r.Node, b.Generation, b.Cluster)
	return f.servers(ctx, b.Generation)
}

// best is the newest acceptable medium. What is wrong with the others is printed, or
// returned where there is no good one.
func (f *firstboot) best(ctx context.Context, medium string, s *machine.State) (*bundle.Bundle, bundle.Medium, error) {
	paths := []string{medium}
	if medium == "" {
		var err error
		if paths, err = bundle.FindMedia(ctx); err != nil {
			return nil, bundle.Medium{}, err
		}
		if len(paths) == 0 {
			return nil, bundle.Medium{}, fmt.Errorf("no block device is labelled %s: put the medium in, or name it with --medium PATH", bundle.Label)
		}
	}
	cluster := ""
	if s.Current != nil {
		cluster = s.Current.Cluster
	}
	var best *bundle.Bundle
	var its bundle.Medium
	var errs []error
	for _, path := range paths {
		m, err := bundle.ReadImage(path)
		var b *bundle.Bundle
		if err == nil {
			b, err = bundle.Open(m.Bundle, m.Signature, f.r.Pin)
		}
		if err == nil {
			err = b.Accept(f.r.Node, cluster, s.Confirmed)
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		case best == nil || b.Generation > best.Generation:
			best, its = b, m
		}
	}
	if best == nil {
		return nil, its, errors.Join(errs...)
	}
	for _, err := range errs {
		fmt.Fprintf(f.out, "passed over: %v\n", err)
	}
	return best, its, nil
}

// secrets are this director's: sealed to its own key, or by the operator's passphrase.
func (f *firstboot) secrets(b *bundle.Bundle, m bundle.Medium) (render.Secrets, error) {
	s, err := b.Unseal(f.r.Node, f.r.Identity)
	if err == nil || len(m.Secrets) == 0 {
		return s, err
	}
	phrase, perr := f.passphrase()
	if perr != nil {
		return s, errors.Join(err, perr)
	}
	all, err := bundle.UnsealAll(m.Secrets, phrase)
	if err != nil {
		return s, err
	}
	s, ok := all[f.r.Node]
	if !ok {
		return s, fmt.Errorf("the medium holds no secrets of director %s: write it again with svm-ems image write", f.r.Node)
	}
	return s, nil
}

func passphrase(c *cli.Context) (string, error) {
	if path := c.String("passphrase-file"); path != "" {
		b, err := os.ReadFile(path)
		return strings.TrimRight(string(b), "\r\n"), err
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", errors.New("the medium needs its passphrase: --passphrase-file FILE, or call svm-fwd firstboot on a terminal")
	}
	fmt.Fprint(c.App.ErrWriter, "Passphrase of the medium: ")
	b, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(c.App.ErrWriter)
	return string(b), err
}

// servers hands the real servers their configuration. Those that can't be reached
// ask for it themselves, so they are no error.
func (f *firstboot) servers(ctx context.Context, generation uint64) error {
	nodes := []string(nil) // all, at first
	for _, verb := range []push.Verb{push.Stage, push.Switch, push.Confirm} {
		answers, err := f.relay(ctx, verb, generation, nodes)
		if err != nil {
			return fmt.Errorf("real servers: %w (their agents will ask this director)", err)
		}
		nodes = nodes[:0]
		for _, name := range sortedKeys(answers) {
			switch a := answers[name]; {
			case a.OK && verb == push.Confirm:
				fmt.Fprintf(f.out, "%s: on generation %d\n", name, generation)
			case a.OK:
				nodes = append(nodes, name)
			case a.Cause == push.Outdated:
				fmt.Fprintf(f.out, "%s: has generation %d or a newer one\n", name, generation)
			default:
				fmt.Fprintf(f.out, "%s: %s; its agent will ask for it\n", name, a.Error)
			}
		}
		if len(nodes) == 0 {
			break
		}
	}
	return nil
}

// relay is a session of this machine's own receiver.
func (f *firstboot) relay(ctx context.Context, verb push.Verb, generation uint64, nodes []string) (map[string]push.Answer, error) {
	in, hold := io.Pipe() // its end would mean that nobody listens
	defer hold.Close()
	var out bytes.Buffer
	req := push.Request{Verb: push.Relay, Sub: verb, Generation: generation, Nodes: nodes}
	if err := f.r.Serve(ctx, req.String(), in, &out); err != nil {
		return nil, err
	}
	a, err := push.ReadAnswer(&out)
	return a.Relayed, err
}
