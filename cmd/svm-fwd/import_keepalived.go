package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// importKeepalived reads the virtual servers and the first VRRP instance.
func importKeepalived(d *draft, text string) error {
	all, err := parseKeepalived(text)
	if err != nil {
		return fmt.Errorf("%s: %w", d.file, err)
	}
	instances := 0
	for _, s := range all {
		err = nil
		switch s.word(0) {
		case "vrrp_instance":
			if instances++; instances > 1 {
				d.note(s.line, "left out: vrrp_instance %s; a pair of directors moves all its VIPs together", s.word(1))
				break
			}
			err = d.instance(s)
		case "virtual_server":
			err = d.virtualServer(s)
		case "global_defs":
		default:
			d.note(s.line, "left out: %s", strings.Join(s.words, " "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) instance(s *statement) (err error) {
	for _, b := range s.block {
		v := b.word(1)
		switch b.word(0) {
		case "interface":
			d.device = v
		case "virtual_router_id":
			d.vrid, err = d.number(b)
		case "priority":
			d.priority, err = d.number(b)
			if d.priority == 255 {
				d.priority = 254
			}
		case "advert_int":
			d.interval, err = d.seconds(b)
		case "nopreempt":
			d.noPreempt = true
		case "preempt_delay":
			d.preemptDelay, err = d.seconds(b)
		case "unicast_src_ip", "mcast_src_ip":
			if d.address, err = netip.ParseAddr(v); err != nil {
				err = fmt.Errorf("%s:%d: %w", d.file, b.line, err)
			}
		case "state", "virtual_ipaddress", "virtual_ipaddress_excluded", "unicast_peer", "version", "garp_master_delay", "debug":
			// The VIPs are those of the services; the rest has no meaning here.
		case "authentication":
			d.note(b.line, "VRRP's passwords protect nothing: set ha.key_file instead")
		default:
			d.note(b.line, "left out: %s", strings.Join(b.words, " "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) virtualServer(s *statement) error {
	vip, err := netip.ParseAddr(s.word(1))
	if err != nil {
		d.note(s.line, "left out: %s; groups and firewall marks have no counterpart, write them as services by address and port", strings.Join(s.words, " "))
		return nil
	}
	v := &draftService{vip: vip, protocol: "tcp"}
	if p := s.word(2); p != "" {
		if v.port, err = strconv.Atoi(p); err != nil {
			return fmt.Errorf("%s:%d: port %q", d.file, s.line, p)
		}
	}
	interval := ""
	for _, b := range s.block {
		w := b.word(1)
		switch b.word(0) {
		case "lb_algo", "lvs_sched":
			v.scheduler = w
		case "lb_kind", "lvs_method":
			if w != "DR" {
				d.note(b.line, "%s: for direct routing the real servers must be on the server network and have the VIP (svm-rs apply)", w)
			}
		case "protocol":
			v.protocol = strings.ToLower(w)
		case "persistence_timeout":
			if v.timeout = 360; w != "" { // keepalived's default
				v.timeout, err = d.number(b)
			}
		case "persistence_granularity":
			v.netmask, err = netmaskBits(w)
		case "ops":
			v.onePacket = true
		case "sh-port", "sh-fallback", "mh-port", "mh-fallback", "flag-1", "flag-2":
			defer v.setFlag(b.word(0)) // when the scheduler is known
		case "delay_loop":
			interval, err = d.seconds(b)
		case "real_server":
			err = d.realServer(v, b)
		case "ha_suspend", "inhibit_on_failure": // as it is here
		default:
			d.note(b.line, "left out: %s", strings.Join(b.words, " "))
		}
		if err != nil {
			return err
		}
	}
	if v.protocol != "tcp" && v.protocol != "udp" {
		d.note(s.line, "left out: protocol %s", v.protocol)
		return nil
	}
	if v.check != "" && interval != "" {
		v.check += ", interval: " + interval
	}
	d.services = append(d.services, v)
	return nil
}

func (d *draft) realServer(v *draftService, s *statement) error {
	address, err := netip.ParseAddr(s.word(1))
	if err != nil {
		return fmt.Errorf("%s:%d: real_server: %w", d.file, s.line, err)
	}
	if port, err := strconv.Atoi(s.word(2)); err == nil {
		d.portNote(s.line, address, port, v.port)
	}
	r := draftServer{address: address, weight: 1}
	for _, b := range s.block {
		switch b.word(0) {
		case "weight":
			r.weight, err = d.number(b)
		case "uthreshold":
			r.upper, err = d.number(b)
		case "lthreshold":
			r.lower, err = d.number(b)
		case "inhibit_on_failure": // as it is here
		case "TCP_CHECK", "HTTP_GET", "SSL_GET", "MISC_CHECK", "PING_CHECK", "UDP_CHECK", "SMTP_CHECK":
			check := d.check(v, b)
			if v.check == "" {
				v.check = check
			} else if v.check != check {
				d.note(b.line, "left out: the servers of a service are checked alike, like the first one")
			}
		default:
			d.note(b.line, "left out: %s", strings.Join(b.words, " "))
		}
		if err != nil {
			return err
		}
	}
	if !v.add(r) {
		d.note(s.line, "left out: %s is a server of this service already", address)
	}
	return nil
}

// check translates a checker block.
func (d *draft) check(v *draftService, s *statement) string {
	kind := map[string]string{
		"TCP_CHECK": "tcp", "HTTP_GET": "http", "SSL_GET": "https", "MISC_CHECK": "exec", "PING_CHECK": "ping", "UDP_CHECK": "udp", "SMTP_CHECK": "tcp",
	}[s.word(0)]
	parts := []string{"type: " + kind}
	for _, b := range s.block {
		w := b.word(1)
		switch b.word(0) {
		case "connect_port":
			if w != strconv.Itoa(v.port) {
				parts = append(parts, "port: "+w)
			}
		case "connect_timeout", "misc_timeout":
			if t, err := d.seconds(b); err == nil {
				parts = append(parts, "timeout: "+t)
			}
		case "retry", "nb_get_retry":
			if n, err := strconv.Atoi(w); err == nil {
				parts = append(parts, fmt.Sprintf("fall: %d", n+1))
			}
		case "virtualhost":
			parts = append(parts, "host: "+quoted(w))
		case "misc_path":
			var words []string
			for f := range strings.FieldsSeq(w) {
				words = append(words, quoted(f))
			}
			parts = append(parts, "command: ["+strings.Join(words, ", ")+"]")
		case "url":
			parts = append(parts, d.url(b)...)
		case "delay_before_retry", "warmup":
		default:
			d.note(b.line, "left out of the check: %s", strings.Join(b.words, " "))
		}
	}
	if s.word(0) == "SMTP_CHECK" {
		parts = append(parts, `expect: "220"`)
	}
	return strings.Join(parts, ", ")
}

func (d *draft) url(s *statement) (parts []string) {
	for _, b := range s.block {
		switch b.word(0) {
		case "path":
			parts = append(parts, "path: "+quoted(b.word(1)))
		case "status_code":
			list := strings.Join(b.words[1:], ", ")
			if len(b.words) > 2 {
				list = "[" + list + "]"
			}
			parts = append(parts, "status: "+list)
		case "virtualhost":
			parts = append(parts, "host: "+quoted(b.word(1)))
		default:
			d.note(b.line, "left out of the check: %s", strings.Join(b.words, " "))
		}
	}
	return parts
}

func (d *draft) number(s *statement) (int, error) {
	n, err := strconv.Atoi(s.word(1))
	if err != nil {
		return 0, fmt.Errorf("%s:%d: %s: want a number, got %q", d.file, s.line, s.word(0), s.word(1))
	}
	return n, nil
}

// seconds reads a number of seconds, also a fraction, as a duration.
func (d *draft) seconds(s *statement) (string, error) {
	t, err := time.ParseDuration(s.word(1) + "s")
	if err != nil {
		return "", fmt.Errorf("%s:%d: %s: want seconds, got %q", d.file, s.line, s.word(0), s.word(1))
	}
	return t.String(), nil
}
