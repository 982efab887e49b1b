package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

func explainCommand() *cli.Command {
	return asks(&cli.Command{
		Name: "explain", Usage: "which server a packet would get, and why; changes nothing",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "src", Usage: "`ADDRESS:PORT` of the client; IPv6 as [ADDRESS]:PORT; without a port, some port", Required: true},
			&cli.StringFlag{Name: "dst", Usage: "`VIP:PORT` that the packet is for", Required: true},
			&cli.StringFlag{Name: "proto", Usage: "`PROTOCOL`: tcp or udp", Value: "tcp"},
			&cli.StringFlag{Name: "flags", Usage: "TCP `FLAGS` by letter, such as S, A, FA or R (default: S)"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			src := c.String("src")
			if a, err := netip.ParseAddr(strings.Trim(src, "[]")); err == nil {
				src = netip.AddrPortFrom(a, 40000).String()
			}
			e, err := client(c).Explain(c.Context, control.ExplainRequest{
				Source: src, Destination: c.String("dst"), Protocol: c.String("proto"), Flags: c.String("flags"),
			})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c, e)
			}
			printExplanation(c.App.Writer, &e)
			return nil
		},
	})
}

func printExplanation(w io.Writer, e *control.Explanation) {
	for i, step := range e.Steps {
		fmt.Fprintf(w, "%2d. %s\n", i+1, step)
	}
	fmt.Fprintf(w, "=> %s (%s)", e.Verdict, e.Reason)
	if e.Server != "" {
		fmt.Fprintf(w, ": service %s, server %s", e.Service, e.Server)
		if e.Address != "" {
			fmt.Fprintf(w, " at %s", e.Address)
		}
		if e.MAC != "" {
			fmt.Fprintf(w, " (%s)", e.MAC)
		}
	}
	fmt.Fprintln(w)
}
