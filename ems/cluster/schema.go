package cluster

import (
	"net/netip"
	"time"
)

const day = 24 * time.Hour

// schema is the table of the whole file. Everything that is said about a key is
// said here; what several keys must say together is in checks.go.
func schema() table[Cluster] {
	return table[Cluster]{
		need("cluster", label(), func(c *Cluster) *string { return &c.Name }),
		one("topology", choice(TwoRouter, OneRouter), "two-router", func(c *Cluster) *Topology { return &c.Topology }),
		object("networks", networks(), func(c *Cluster) *Networks { return &c.Networks }),
		optional("station", station(), "no station", func(c *Cluster) *Station { return &c.Station },
			func(*Station) {}, func(s *Station) bool { return s.Address.IsValid() }),
		object("ha", ha(), func(c *Cluster) *HA { return &c.HA }),
		object("forwarding", forwarding(), func(c *Cluster) *Forwarding { return &c.Forwarding }),
		object("delivery", delivery(), func(c *Cluster) *Delivery { return &c.Delivery }),
		required(list("directors", "a list of one or two directors", director(), func(c *Cluster) *[]Director { return &c.Directors })),
		list("realservers", "a list of real servers", realServer(), func(c *Cluster) *[]RealServer { return &c.RealServers }),
		list("services", "a list of services", service(), func(c *Cluster) *[]Service { return &c.Services }),
	}
}

func networks() table[Networks] {
	return table[Networks]{
		object("client", network(), func(n *Networks) *Network { return &n.Client }),
		object("server", network(), func(n *Networks) *Network { return &n.Server }),
	}
}

func network() table[Network] {
	return table[Network]{
		maybe("cidr", prefix(false), "not checked", func(n *Network) *netip.Prefix { return &n.CIDR }),
		maybe("gateway", address(false), "none", func(n *Network) *netip.Addr { return &n.Gateway }),
		maybe("cidr6", prefix(true), "not checked", func(n *Network) *netip.Prefix { return &n.CIDR6 }),
		maybe("gateway6", address(true), "none", func(n *Network) *netip.Addr { return &n.Gateway6 }),
	}
}

func station() table[Station] {
	return table[Station]{
		need("address", address(false), func(s *Station) *netip.Addr { return &s.Address }),
	}
}

func ha() table[HA] {
	return table[HA]{
		one("vrid", integer[uint8](1, 255), "51", func(h *HA) *uint8 { return &h.VRID }),
		one("interval", duration(10*time.Millisecond, 40950*time.Millisecond, 10*time.Millisecond), "100ms",
			func(h *HA) *time.Duration { return &h.Interval }),
		one("preempt", boolean(), "true", func(h *HA) *bool { return &h.Preempt }),
		one("preempt_delay", duration(0, time.Hour, 0), "0s", func(h *HA) *time.Duration { return &h.PreemptDelay }),
		maybe("key_file", file(), "none, plain VRRPv3", func(h *HA) *string { return &h.KeyFile }),
		one("mac", choice(InterfaceMAC, VirtualMAC), "interface", func(h *HA) *MACMode { return &h.MAC }),
		one("announce", duration(time.Second, day, 0), "60s", func(h *HA) *time.Duration { return &h.Announce }),
		one("unicast", boolean(), "false", func(h *HA) *bool { return &h.Unicast }),
		one("checksum", choice(PseudoHeader, Plain), "pseudo-header", func(h *HA) *Checksum { return &h.Checksum }),
		one("check_ttl", boolean(), "true", func(h *HA) *bool { return &h.CheckTTL }),
		one("sync_port", integer[uint16](1, 65535), "8484", func(h *HA) *uint16 { return &h.SyncPort }),
		object("track", track(), func(h *HA) *Track { return &h.Track }),
		object("notify", notify(), func(h *HA) *Notify { return &h.Notify }),
	}
}

func track() table[Track] {
	return table[Track]{
		one("devices", boolean(), "true", func(t *Track) *bool { return &t.Devices }),
		one("min_servers", integer(0, 100_000), "0", func(t *Track) *int { return &t.MinServers }),
		maybe("command", command(), "none", func(t *Track) *[]string { return &t.Command }),
		one("interval", duration(100*time.Millisecond, day, 0), "2s", func(t *Track) *time.Duration { return &t.Interval }),
		one("timeout", duration(10*time.Millisecond, day, 0), "1s", func(t *Track) *time.Duration { return &t.Timeout }),
		one("penalty", integer[uint8](1, 254), "50", func(t *Track) *uint8 { return &t.Penalty }),
	}
}

func notify() table[Notify] {
	return table[Notify]{
		maybe("command", command(), "none", func(n *Notify) *[]string { return &n.Command }),
		maybe("webhook", webURL(), "none", func(n *Notify) *string { return &n.Webhook }),
		one("timeout", duration(10*time.Millisecond, time.Hour, 0), "5s", func(n *Notify) *time.Duration { return &n.Timeout }),
	}
}

func forwarding() table[Forwarding] {
	return table[Forwarding]{
		one("workers", integer(0, 64), "0", func(f *Forwarding) *int { return &f.Workers }),
		one("connections", integer(1024, 64_000_000), "1000000", func(f *Forwarding) *int { return &f.Connections }),
		one("half_open", integer(1, 90), "25", func(f *Forwarding) *int { return &f.HalfOpen }),
		one("state_file", fileOrNone(), "/run/svm/flows", func(f *Forwarding) *string { return &f.StateFile }),
		object("timeouts", timeouts(), func(f *Forwarding) *Timeouts { return &f.Timeouts }),
	}
}

func timeouts() table[Timeouts] {
	idle := duration(time.Second, day, 0)
	return table[Timeouts]{
		one("established", idle, "900s", func(t *Timeouts) *time.Duration { return &t.Established }),
		one("syn_received", idle, "60s", func(t *Timeouts) *time.Duration { return &t.SynRecv }),
		one("fin_wait", idle, "120s", func(t *Timeouts) *time.Duration { return &t.FinWait }),
		one("time_wait", idle, "120s", func(t *Timeouts) *time.Duration { return &t.TimeWait }),
		one("close", idle, "10s", func(t *Timeouts) *time.Duration { return &t.Close }),
		one("udp", idle, "300s", func(t *Timeouts) *time.Duration { return &t.UDP }),
		one("fragment", idle, "30s", func(t *Timeouts) *time.Duration { return &t.Fragment }),
	}
}

func delivery() table[Delivery] {
	return table[Delivery]{
		one("ssh_user", userName(), "svm-push", func(d *Delivery) *string { return &d.SSHUser }),
		one("ssh_port", integer[uint16](1, 65535), "22", func(d *Delivery) *uint16 { return &d.SSHPort }),
		one("config_port", integer[uint16](1, 65535), "8485", func(d *Delivery) *uint16 { return &d.ConfigPort }),
		one("dhcp", boolean(), "true", func(d *Delivery) *bool { return &d.DHCP }),
	}
}

func director() table[Director] {
	return table[Director]{
		need("name", label(), func(d *Director) *string { return &d.Name }),
		one("priority", integer[uint8](1, 254), "100", func(d *Director) *uint8 { return &d.Priority }),
		required(object("client", interfaces(), func(d *Director) *Interface { return &d.Client })),
		required(object("server", interfaces(), func(d *Director) *Interface { return &d.Server })),
	}
}

func interfaces() table[Interface] {
	return table[Interface]{
		need("device", device(), func(i *Interface) *string { return &i.Device }),
		need("address", address(false), func(i *Interface) *netip.Addr { return &i.Address }),
		maybe("address6", address(true), "none", func(i *Interface) *netip.Addr { return &i.Address6 }),
	}
}

func realServer() table[RealServer] {
	return table[RealServer]{
		need("name", label(), func(s *RealServer) *string { return &s.Name }),
		need("address", address(false), func(s *RealServer) *netip.Addr { return &s.Address }),
		maybe("address6", address(true), "none", func(s *RealServer) *netip.Addr { return &s.Address6 }),
		one("device", device(), "eth0", func(s *RealServer) *string { return &s.Device }),
		maybe("mac", macAddress(), "not known", func(s *RealServer) *string { return &s.MAC }),
	}
}

func service() table[Service] {
	return table[Service]{
		need("name", label(), func(s *Service) *string { return &s.Name }),
		need("vip", address(false), func(s *Service) *netip.Addr { return &s.VIP }),
		one("protocol", choice(TCP, UDP), "tcp", func(s *Service) *Protocol { return &s.Protocol }),
		need("ports", ports(), func(s *Service) *Ports { return &s.Ports }),
		one("scheduler", choice("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "fo", "ovf", "mh", "twos"),
			"wlc", func(s *Service) *string { return &s.Scheduler }),
		maybe("flags", flags(), "[]", func(s *Service) *[]string { return &s.Flags }),
		optional("persistence", persistence(), "none", func(s *Service) *Persistence { return &s.Persistence },
			func(*Persistence) {}, func(p *Persistence) bool { return p.Timeout != 0 }),
		one("one_packet", boolean(), "false", func(s *Service) *bool { return &s.OnePacket }),
		optional("check", check(), "{type: none}", func(s *Service) *Check { return &s.Check },
			func(c *Check) { c.Type = CheckNone }, func(c *Check) bool { return c.Type != CheckNone && c.Type != "" }),
		required(list("servers", "a list of servers", server(), func(s *Service) *[]Server { return &s.Servers })),
	}
}

func persistence() table[Persistence] {
	return table[Persistence]{
		one("timeout", duration(time.Second, 7*day, 0), "300s", func(p *Persistence) *time.Duration { return &p.Timeout }),
		maybe("netmask", integer(1, 128), "32 for IPv4, 128 for IPv6", func(p *Persistence) *int { return &p.Netmask }),
	}
}

func check() table[Check] {
	pause := duration(10*time.Millisecond, day, 0)
	return table[Check]{
		one("type", choice(CheckNone, CheckTCP, CheckHTTP, CheckHTTPS, CheckUDP, CheckExec, CheckPing), "tcp",
			func(c *Check) *CheckType { return &c.Type }),
		maybe("port", integer[uint16](1, 65535), "the first port of the service", func(c *Check) *uint16 { return &c.Port }),
		one("path", requestPath(), "/", func(c *Check) *string { return &c.Path }),
		maybe("host", hostName(), "the VIP", func(c *Check) *string { return &c.Host }),
		maybe("status", statuses(), "200-399", func(c *Check) *[]int { return &c.Status }),
		maybe("send", texts("a text", 4096), "nothing", func(c *Check) *string { return &c.Send }),
		maybe("expect", texts("a text", 4096), "nothing", func(c *Check) *string { return &c.Expect }),
		maybe("command", command(), "none", func(c *Check) *[]string { return &c.Command }),
		one("verify_certificate", boolean(), "false", func(c *Check) *bool { return &c.VerifyCertificate }),
		one("interval", pause, "2s", func(c *Check) *time.Duration { return &c.Interval }),
		maybe("timeout", pause, "1s, or the interval if that is shorter", func(c *Check) *time.Duration { return &c.Timeout }),
		one("rise", integer(1, 1000), "2", func(c *Check) *int { return &c.Rise }),
		one("fall", integer(1, 1000), "3", func(c *Check) *int { return &c.Fall }),
		one("cut_off", boolean(), "false", func(c *Check) *bool { return &c.CutOff }),
	}
}

func server() table[Server] {
	return table[Server]{
		need("name", label(), func(s *Server) *string { return &s.Name }),
		one("weight", integer(0, 65535), "1", func(s *Server) *int { return &s.Weight }),
		one("upper", integer(0, 1<<31-1), "0", func(s *Server) *int { return &s.Upper }),
		one("lower", integer(0, 1<<31-1), "0", func(s *Server) *int { return &s.Lower }),
	}
}
