package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// sketch is what a new cluster file is made from.
type sketch struct {
	name             string
	client, server   side
	station          netip.Addr // not valid: none
	vip              netip.Addr
	ports            string
	directors        []director
	servers          []server
	assumedNets      bool // client and server CIDRs are guesses
	defaultedDevices bool
}

type side struct {
	cidr    netip.Prefix
	gateway netip.Addr
}

type director struct {
	name                       string
	client, server             netip.Addr
	clientDevice, serverDevice string
}

type server struct {
	name    string
	address netip.Addr
	mac     string
}

func sketchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cluster", Usage: "`NAME` of the farm"},
		&cli.StringFlag{Name: "vip", Usage: "virtual `ADDRESS` of the first service"},
		&cli.StringFlag{Name: "ports", Usage: "TCP `PORTS` of it: 80, 80,443 or 8000-8999", Value: "80"},
		&cli.StringSliceFlag{Name: "director", Usage: "`NAME=CLIENTADDR,SERVERADDR[,CLIENTDEV,SERVERDEV]`, the active one first; twice (devices: eth0, eth1)"},
		&cli.StringSliceFlag{Name: "realserver", Usage: "`NAME=ADDR[,MAC]`; may be repeated"},
		&cli.StringFlag{Name: "client-net", Usage: "`CIDR` of the clients' side (default: the /24 or /64 of the first director)"},
		&cli.StringFlag{Name: "server-net", Usage: "`CIDR` of the servers' side (default: the same)"},
		&cli.StringFlag{Name: "client-gateway", Usage: "router's `ADDRESS` on the clients' side"},
		&cli.StringFlag{Name: "server-gateway", Usage: "router's `ADDRESS` on the servers' side, by which replies leave"},
		&cli.StringFlag{Name: "station", Usage: "this station's `ADDRESS`"},
	}
}

// newSketch reads the options, and asks for what they lack where it may.
func newSketch(c *cli.Context) (*sketch, error) {
	k := &sketch{ports: "80"}
	given := slices.ContainsFunc(sketchFlags(), func(f cli.Flag) bool { return c.IsSet(f.Names()[0]) })
	if _, ok := terminal(c.App.Reader); c.Bool("interactive") || ok && !given {
		return k, ask(c, k)
	}
	for _, need := range []string{"cluster", "vip", "director", "realserver"} {
		if !c.IsSet(need) {
			return nil, fmt.Errorf("--%s is missing: give it, or --from FILE, or --interactive", need)
		}
	}
	var err error
	set := func(flag string, into *netip.Addr) {
		if err == nil && c.IsSet(flag) {
			if *into, err = parseAddr(c.String(flag)); err != nil {
				err = fmt.Errorf("--%s: %w", flag, err)
			}
		}
	}
	k.name, k.ports = c.String("cluster"), c.String("ports")
	set("vip", &k.vip)
	set("station", &k.station)
	set("client-gateway", &k.client.gateway)
	set("server-gateway", &k.server.gateway)
	// The library cuts values at commas: they come as words, to be put together again.
	for _, text := range joined(c.StringSlice("director")) {
		if err == nil {
			err = k.addDirector(text)
		}
	}
	for _, text := range joined(c.StringSlice("realserver")) {
		if err == nil {
			err = k.addServer(text)
		}
	}
	for flag, into := range map[string]*netip.Prefix{"client-net": &k.client.cidr, "server-net": &k.server.cidr} {
		if err == nil && c.IsSet(flag) {
			if *into, err = parsePrefix(c.String(flag)); err != nil {
				err = fmt.Errorf("--%s: %w", flag, err)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	k.assume()
	return k, nil
}

// joined undoes the cutting at commas: a part without = belongs to the one before it.
func joined(parts []string) (all []string) {
	for _, p := range parts {
		if n := len(all); n > 0 && !strings.Contains(p, "=") {
			all[n-1] += "," + p
			continue
		}
		all = append(all, p)
	}
	return all
}

func (k *sketch) addDirector(text string) error {
	const want = "want NAME=CLIENTADDR,SERVERADDR[,CLIENTDEV,SERVERDEV]"
	name, rest, ok := strings.Cut(text, "=")
	f := strings.Split(rest, ",")
	if !ok || len(f) != 2 && len(f) != 4 {
		return fmt.Errorf("--director %s: %s", printable(text), want)
	}
	d := director{name: name, clientDevice: "eth0", serverDevice: "eth1"}
	if len(f) == 4 {
		d.clientDevice, d.serverDevice = f[2], f[3]
	} else {
		k.defaultedDevices = true
	}
	var err error
	if d.client, err = parseAddr(f[0]); err == nil {
		d.server, err = parseAddr(f[1])
	}
	if err != nil {
		return fmt.Errorf("--director %s: %w", printable(text), err)
	}
	k.directors = append(k.directors, d)
	return nil
}

func (k *sketch) addServer(text string) error {
	name, rest, ok := strings.Cut(text, "=")
	addr, mac, _ := strings.Cut(rest, ",")
	if !ok {
		return fmt.Errorf("--realserver %s: want NAME=ADDR[,MAC]", printable(text))
	}
	s := server{name: name}
	var err error
	if s.address, err = parseAddr(addr); err != nil {
		return fmt.Errorf("--realserver %s: %w", printable(text), err)
	}
	if mac != "" {
		if s.mac, err = parseMAC(mac); err != nil {
			return fmt.Errorf("--realserver %s: %w", printable(text), err)
		}
	}
	k.servers = append(k.servers, s)
	return nil
}

// assume fills in the networks that weren't given.
func (k *sketch) assume() {
	for _, n := range []struct {
		s  *side
		at netip.Addr
	}{{&k.client, k.directors[0].client}, {&k.server, k.directors[0].server}} {
		if n.s.cidr.IsValid() {
			continue
		}
		k.assumedNets = true
		n.s.cidr = around(n.at)
	}
}

// around is the usual network of an address: /24 or /64.
func around(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil || a.Zone() != "" {
		return a, fmt.Errorf("want an address like 192.168.1.2 or fd00::2, got %.60q", text)
	}
	return a, nil
}

func parseMAC(text string) (string, error) {
	hw, err := net.ParseMAC(text)
	if err != nil || len(hw) != 6 {
		return "", errors.New("want a MAC address like 52:54:00:12:34:56")
	}
	return hw.String(), nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil || p != p.Masked() {
		return p, fmt.Errorf("want a network like 192.168.1.0/24, got %.60q", text)
	}
	return p, nil
}

// quoted makes text a YAML scalar: an IPv6 address would be a mapping in {}.
func quoted(s fmt.Stringer) string { return quotedText(s.String()) }

func quotedText(s string) string {
	if strings.ContainsAny(s, ":#{}[],&*?|>'\"%@` \\\n") {
		return fmt.Sprintf("%q", s)
	}
	return s
}
