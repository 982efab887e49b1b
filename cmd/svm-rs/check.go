package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/svm-cluster/svm/realserver"
	"github.com/urfave/cli/v2"
)

// report is what check --json prints.
type report struct {
	Node     string               `json:"node,omitempty"` // with a cluster file
	OK       bool                 `json:"ok"`             // no finding of level error
	Findings []realserver.Finding `json:"findings"`
}

func check(c *cli.Context) error {
	want, err := wanted(c)
	if err != nil {
		return err
	}
	if err := want.Validate(); err != nil {
		return err
	}
	have, err := realserver.Read(c.Context, c.String("state"))
	if err != nil {
		return err
	}
	r := report{Node: want.node, OK: true, Findings: []realserver.Finding{}}
	r.Findings = append(r.Findings, realserver.Check(want.Config, have)...)
	for _, f := range r.Findings {
		r.OK = r.OK && f.Level != realserver.Error
	}
	if c.Bool("json") {
		enc := json.NewEncoder(c.App.Writer)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(r)
	} else {
		err = printFindings(c.App.Writer, r, len(want.VIPs))
	}
	if err == nil && !r.OK {
		return errFindings
	}
	return err
}

func printFindings(w io.Writer, r report, vips int) error {
	mends := false
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "%s: %s\n    %s\n", f.Level, f.Problem, f.Command); err != nil {
			return err
		}
		mends = mends || f.Apply
	}
	var err error
	switch {
	case mends:
		_, err = fmt.Fprintln(w, "svm-rs apply mends what is missing on lo and in ARP.")
	case r.OK:
		_, err = fmt.Fprintf(w, "ok: %d VIPs, ready for direct routing\n", vips)
	}
	return err
}
