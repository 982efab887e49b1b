package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// importIPVSADM reads rules as ipvsadm -Sn prints and ipvsadm -R reads them.
func importIPVSADM(d *draft, text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := ipvsRule(d, n, words); err != nil {
			return fmt.Errorf("%s:%d: %w", d.file, n, err)
		}
	}
	return nil
}

// ipvsOptions maps long options to short ones; those with an argument are in ipvsArgs.
var ipvsOptions = map[string]string{
	"--add-service": "-A", "--edit-service": "-E", "--add-server": "-a", "--edit-server": "-e", "--clear": "-C",
	"--tcp-service": "-t", "--udp-service": "-u", "--fwmark-service": "-f", "--scheduler": "-s", "--persistent": "-p",
	"--netmask": "-M", "--sched-flags": "-b", "--ops": "-o", "ops": "-o", "--real-server": "-r", "--weight": "-w",
	"--u-threshold": "-x", "--l-threshold": "-y", "--gatewaying": "-g", "--ipip": "-i", "--masquerading": "-m", "--ipv6": "-6",
}

const ipvsArgs = "-t -u -f --sctp-service -s -M -b -r -w -x -y --pe --tun-type --tun-port "

func ipvsRule(d *draft, line int, words []string) error {
	var command string
	opt := map[string]string{}
	for i := 0; i < len(words); i++ {
		w := words[i]
		value, inline := "", false
		if long, v, ok := strings.Cut(w, "="); ok && strings.HasPrefix(w, "--") {
			w, value, inline = long, v, true
		}
		if short := ipvsOptions[w]; short != "" {
			w = short
		}
		switch {
		case w == "-A" || w == "-E" || w == "-a" || w == "-e" || w == "-C":
			command = w
			continue
		case inline:
		case strings.Contains(ipvsArgs, w+" "):
			if i++; i == len(words) {
				return fmt.Errorf("%s without a value", w)
			}
			value = words[i]
		case w == "-p" && i+1 < len(words) && words[i+1][0] != '-':
			i++
			value = words[i]
		}
		opt[w] = value
	}
	switch command {
	case "-A", "-E":
		return ipvsService(d, line, opt)
	case "-a", "-e":
		return ipvsServer(d, line, opt)
	case "-C":
		return nil
	}
	return fmt.Errorf("%q is no rule: want -A or -a, as ipvsadm -Sn prints", strings.Join(words, " "))
}

func ipvsWho(opt map[string]string) (vip netip.Addr, protocol string, port int, ok bool, err error) {
	for option, name := range map[string]string{"-t": "tcp", "-u": "udp"} {
		if v, there := opt[option]; there {
			vip, port, err = addressPort(v)
			return vip, name, port, err == nil, err
		}
	}
	return vip, "", 0, false, nil
}

func ipvsService(d *draft, line int, opt map[string]string) error {
	vip, protocol, port, ok, err := ipvsWho(opt)
	if err != nil {
		return err
	}
	if !ok {
		d.note(line, "left out: a service by firewall mark or SCTP has no counterpart; write it as services by address and port")
		return nil
	}
	s := &draftService{vip: vip, protocol: protocol, port: port, scheduler: opt["-s"]}
	if _, there := opt["-o"]; there {
		s.onePacket = true
	}
	if v, there := opt["-p"]; there {
		s.timeout = 300
		if v != "" {
			if s.timeout, err = strconv.Atoi(v); err != nil {
				return fmt.Errorf("-p %s: want seconds", v)
			}
		}
	}
	if v, there := opt["-M"]; there {
		if s.netmask, err = netmaskBits(v); err != nil {
			return err
		}
	}
	if v := opt["-b"]; v != "" {
		for f := range strings.SplitSeq(v, ",") {
			s.setFlag(f)
		}
	}
	if v := opt["--pe"]; v != "" {
		d.note(line, "persistence engine %s: there are none here, clients are told apart by address", v)
	}
	d.services = append(d.services, s)
	return nil
}

func ipvsServer(d *draft, line int, opt map[string]string) error {
	vip, protocol, port, ok, err := ipvsWho(opt)
	if err != nil || !ok {
		return err // of a service that was left out
	}
	s := d.find(vip, protocol, port)
	if s == nil {
		return fmt.Errorf("a server of %s %s port %d, which no -A before it made", protocol, vip, port)
	}
	address, realPort, err := addressPort(opt["-r"])
	if err != nil {
		return err
	}
	v := draftServer{address: address, weight: 1}
	for option, into := range map[string]*int{"-w": &v.weight, "-x": &v.upper, "-y": &v.lower} {
		if text := opt[option]; text != "" {
			if *into, err = strconv.Atoi(text); err != nil {
				return fmt.Errorf("%s %s: want a number", option, text)
			}
		}
	}
	for option, how := range map[string]string{"-m": "masquerading", "-i": "tunneling"} {
		if _, there := opt[option]; there {
			d.note(line, "%s was reached by %s: for direct routing it must be on the server network and have the VIP (svm-rs apply)", address, how)
		}
	}
	d.portNote(line, address, realPort, port)
	if !s.add(v) {
		d.note(line, "left out: %s is a server of this service already", address)
	}
	return nil
}

// portNote tells of a port translation, which direct routing has not.
func (d *draft) portNote(line int, server netip.Addr, is, want int) {
	if is != 0 && is != want {
		d.note(line, "%s was reached at port %d: direct routing can't change ports, its service must listen at the VIP's %d", server, is, want)
	}
}

// addressPort reads 1.2.3.4:80, [2001:db8::1]:80, or either without a port.
func addressPort(text string) (netip.Addr, int, error) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr(), int(ap.Port()), nil
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return a, 0, fmt.Errorf("address %q: want numbers (ipvsadm -Sn prints them)", text)
	}
	return a, 0, nil
}
