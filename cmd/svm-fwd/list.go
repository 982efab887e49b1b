package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/urfave/cli/v2"
)

// listCommand needs the folder of hosts and services.
func listCommand(etc string) *cli.Command {
	return asks(&cli.Command{
		Name: "list", Usage: "services, servers and connections, as ipvsadm -L prints them",
		Description: "Names are those of /etc/hosts and /etc/services; nothing is asked of the DNS.\n" +
			"A service with several ports is one block, its ports written as in the cluster\n" +
			"file (80,443 or 8000-8999; 0: any). The columns of outgoing traffic are always 0:\n" +
			"replies do not pass the director.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "numeric", Aliases: []string{"n"}, Usage: "addresses and ports as numbers"},
			&cli.BoolFlag{Name: "stats", Usage: "what was forwarded since the daemon started: connections, packets, bytes"},
			&cli.BoolFlag{Name: "rate", Usage: "what is forwarded a second: connections, packets, bytes"},
			&cli.BoolFlag{Name: "thresholds", Usage: "upper and lower thresholds, in connections"},
			&cli.BoolFlag{Name: "exact", Usage: "large numbers in full, without K, M, G and T (thousands, millions ...)"},
			&cli.BoolFlag{Name: "connection", Aliases: []string{"c"}, Usage: "the connections, with the time they have left as minutes:seconds"},
			&cli.BoolFlag{Name: "timeout", Usage: "the timeouts of idle connections, in seconds"},
			&cli.BoolFlag{Name: "why", Usage: "why servers get no new connections, and how to mend that"},
			&cli.StringFlag{Name: "service", Usage: "only the service of this `NAME`"},
			&cli.StringFlag{Name: "server", Usage: "with -c: only connections of the server of this `NAME`"},
			&cli.StringFlag{Name: "source", Usage: "with -c: only connections from this `ADDRESS` or prefix"},
			&cli.BoolFlag{Name: "json", Aliases: []string{"j"}, Usage: "print JSON: the whole status, or with -c one connection a line; times in nanoseconds"},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			bodies := 0
			for _, name := range []string{"stats", "rate", "thresholds", "connection", "timeout", "why"} {
				if c.Bool(name) {
					bodies++
				}
			}
			if bodies > 1 {
				return errors.New("choose one of --stats, --rate, --thresholds, -c, --timeout and --why")
			}
			names := names{}
			if !c.Bool("numeric") {
				names = readNames(filepath.Join(etc, "hosts"), filepath.Join(etc, "services"))
			}
			if c.Bool("connection") {
				return listConnections(c, names)
			}
			if c.IsSet("server") || c.IsSet("source") {
				return errors.New("--server and --source go with -c")
			}
			return listServices(c, names)
		},
	})
}

func listServices(c *cli.Context, names names) error {
	s, err := client(c).Status(c.Context)
	if err != nil {
		return err
	}
	if err := onlyService(&s, c.String("service")); err != nil {
		return err
	}
	switch w := c.App.Writer; {
	case c.Bool("json"):
		return printJSON(c, s)
	case c.Bool("timeout"):
		fmt.Fprintf(w, "Timeout (tcp tcpfin udp): %.0f %.0f %.0f\n", s.Timeouts.TCP.Seconds(), s.Timeouts.TCPFin.Seconds(), s.Timeouts.UDP.Seconds())
	case c.Bool("why"):
		printWhy(w, &s)
	default:
		t := table{w: w, names: names, exact: c.Bool("exact")}
		switch {
		case c.Bool("stats"):
			t.body = stats
		case c.Bool("rate"):
			t.body = rates
		case c.Bool("thresholds"):
			t.body = thresholds
		}
		t.print(&s)
	}
	return nil
}

// onlyService takes all services but the named one away.
func onlyService(s *control.Status, name string) error {
	if name == "" {
		return nil
	}
	for _, v := range s.Services {
		if v.Name == name {
			s.Services = []control.Service{v}
			return nil
		}
	}
	return noService(s, name)
}

func noService(s *control.Status, name string) error {
	var all []string
	for _, v := range s.Services {
		all = append(all, v.Name)
	}
	return fmt.Errorf("no service %q: there are %s", name, list(all))
}

func listConnections(c *cli.Context, names names) error {
	f := control.ConnectionFilter{Service: c.String("service"), Server: c.String("server"), Source: c.String("source")}
	ask := client(c)
	if f.Service != "" { // a name that is not there would look like no connections
		s, err := ask.Status(c.Context)
		if err == nil {
			err = onlyService(&s, f.Service)
		}
		if err != nil {
			return err
		}
	}
	if c.Bool("json") {
		enc := json.NewEncoder(c.App.Writer)
		var failed error
		err := ask.Connections(c.Context, f, func(conn control.Connection) bool {
			failed = enc.Encode(conn)
			return failed == nil
		})
		return errors.Join(err, failed)
	}
	return printConnections(c.App.Writer, names, func(visit func(control.Connection) bool) error {
		return ask.Connections(c.Context, f, visit)
	})
}
