package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/enroll"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/provision"
	"github.com/urfave/cli/v2"
)

func agentCommand() *cli.Command {
	return &cli.Command{
		Name: "agent", Usage: "keep this server on the configuration that the directors have confirmed",
		Description: "Asks the directors for this server's part, believes only the signature of the\n" +
			"station that it was enrolled with, and never goes back to an older one. A server\n" +
			"without any configuration gets its address from the active director by DHCP; what\n" +
			"the agent set is taken away when it ends, unless a configuration has confirmed it.\n" +
			"Needs CAP_NET_ADMIN and CAP_NET_RAW for addresses. Opens no port.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Value: "/etc/svm/cluster.yaml", Usage: "cluster `FILE` of this server, when it has one"},
			&cli.StringFlag{Name: "dhcp", Value: provision.AutoDevice, Usage: "`DEVICE` that gets an address where it has none; auto: the cluster file's, or the only Ethernet device; none: never"},
			&cli.StringSliceFlag{Name: "director", Usage: "`ADDRESS` or ADDRESS:PORT of a director on the server network, besides those of the file; may be repeated"},
			&cli.StringFlag{Name: "node", Usage: "`NAME` of this server in the cluster file: no other part is taken (default: what the directors say)"},
			&cli.DurationFlag{Name: "every", Value: 10 * time.Second, Usage: "`TIME` between two questions, such as 10s"},
			&cli.StringFlag{Name: "pin", Usage: "`FILE` with the station's public key (default: the one it was enrolled with)"},
			storeFlag(),
		},
		Action: agent,
	}
}

func agent(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if c.Duration("every") < 100*time.Millisecond {
		return fmt.Errorf("--every %v: want at least 100ms", c.Duration("every"))
	}
	device := c.String("dhcp")
	if device == "none" {
		device = ""
	}
	var directors []netip.AddrPort
	for _, text := range c.StringSlice("director") {
		at, err := directorAddress(text)
		if err != nil {
			return err
		}
		directors = append(directors, at)
	}
	pin, err := pinned(c.String("pin"))
	if err != nil {
		return err
	}
	// The name that DHCP is told: the host's, unless another is given.
	name, err := nodeName(c)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(c.App.ErrWriter, nil))
	store, err := machine.OpenSystem(c.String("store"), "svm-agent.service", log)
	if err != nil {
		return err
	}
	return provision.NewAgent(provision.AgentConfig{
		Store: store, Pin: pin, Node: c.String("node"), HostName: name, Device: device, Directors: directors,
		Cluster: provision.NewClusterFile(c.String("config"), log).Cluster,
		Every:   c.Duration("every"), Log: log,
	}).Run(c.Context)
}

// directorAddress takes an address with or without a port.
func directorAddress(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, cluster.Default().Delivery.ConfigPort), nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return at, fmt.Errorf("--director %q: want an address like 192.168.2.2, or 192.168.2.2:8485", text)
	}
	return at, nil
}

// pinned is the station's key, from the file or as enrolled.
func pinned(file string) (string, error) {
	if file == "" {
		return enroll.Pinned("/", "svm-rs")
	}
	b, err := os.ReadFile(file)
	key := strings.TrimSpace(string(b))
	if err == nil && key == "" {
		err = errors.New(file + " is empty")
	}
	return key, err
}
