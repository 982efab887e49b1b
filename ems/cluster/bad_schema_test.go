package cluster

// badValues break one key each: its name, its type or its range.
func badValues() []badCase {
	return []badCase{
		{"unknown key at the top", []string{"cluster: shop", "cluster: shop\nservice: []"}, []string{
			`2:1: service: unknown key, did you mean "services"?`,
		}},
		{"unknown key, two letters swapped", []string{"{name: eps1}, ", "{name: eps1, wieght: 3}, "}, []string{
			`11:28: services[0].servers[0].wieght: unknown key, did you mean "weight"?`,
		}},
		{"unknown key in another spelling", []string{"servers: [{name: eps1}, {name: eps2}]", "one-packet: true\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:5: services[0].one-packet: unknown key, did you mean "one_packet"?`,
		}},
		{"unknown key like no other", []string{"servers: [{name: eps1}, {name: eps2}]", "colour: blue\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:5: services[0].colour: unknown key: want one of name, vip, protocol, ports, scheduler, flags, persistence, one_packet, check, servers",
		}},
		{"unknown key that is not a word", []string{"servers: [{name: eps1}, {name: eps2}]", "'a b.c': 1\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:5: services[0]."a b.c": unknown key: want one of name, vip, protocol, ports, scheduler, flags, persistence, one_packet, check, servers`,
		}},
		{"key that is a list", []string{"servers: [{name: eps1}, {name: eps2}]", "? [a, b]\n    : 1\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:7: services[0]: a key must be a plain word, this one is a list",
		}},
		{"key given twice", []string{"servers: [{name: eps1}, {name: eps2}]", "ports: 443\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:5: services[0].ports: given twice, first on line 10: leave one out",
		}},
		{"two problems in one mapping", []string{"servers: [{name: eps1}, {name: eps2}]", "potocol: tpc\n    protocol: tpc\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:5: services[0].potocol: unknown key, did you mean "protocol"?`,
			`12:15: services[0].protocol: want tcp or udp, got "tpc", did you mean "tcp"?`,
		}},
		{"required key missing at the top", []string{"cluster: shop", "topology: two-router"}, []string{
			"1:1: cluster: is missing: want a name of 1 to 63 letters a-z, digits and inner hyphens",
		}},
		{"required keys missing in a director", []string{"{name: eds1, client: {device: eth0, address: 10.0.1.2}, ", "{"}, []string{
			"3:5: directors[0].name: is missing: want a name of 1 to 63 letters a-z, digits and inner hyphens",
			"3:5: directors[0].client: is missing: want a mapping",
		}},
		{"required key missing in an interface", []string{"{device: eth0, address: 10.0.1.2}", "{device: eth0}"}, []string{
			"3:26: directors[0].client.address: is missing: want an IPv4 or IPv6 address",
		}},
		{"required keys missing in a service", []string{"vip: 10.0.1.100\n    ports: 80", "protocol: tcp"}, []string{
			"8:5: services[0].vip: is missing: want an IPv4 or IPv6 address",
			"8:5: services[0].ports: is missing: want a port from 1 to 65535, a range like 8000-8999, a list of these, or any",
		}},
		{"a mapping is wanted", []string{"cluster: shop", "cluster: shop\nha: fast"}, []string{
			`2:5: ha: want a mapping of vrid, interval, preempt, preempt_delay, key_file, mac, announce, unicast, checksum, check_ttl, sync_port, track, notify, got "fast"`,
		}},
		{"a mapping is wanted in a list", []string{"  - {name: eps2, address: 10.0.2.12}", "  - eps2"}, []string{
			`6:5: realservers[1]: want a mapping of name, address, address6, device, mac, got "eps2"`,
		}},
		{"a list is wanted", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: {name: eps1}"}, []string{
			"11:14: services[0].servers: want a list of servers, got a mapping",
		}},
		{"an empty list is not nothing", []string{"servers: [{name: eps1}, {name: eps2}]", "servers:"}, []string{
			"11:13: services[0].servers: want a list of servers, got nothing: write [] for none",
		}},
		{"a word is wanted", []string{"vip: 10.0.1.100", "vip: [10.0.1.100]"}, []string{
			"9:10: services[0].vip: want an IPv4 or IPv6 address, got a list",
		}},
		{"a value is wanted", []string{"vip: 10.0.1.100", "vip:"}, []string{
			"9:9: services[0].vip: want an IPv4 or IPv6 address, got nothing",
		}},
		{"integer that is a word", []string{"{name: eps1}, ", "{name: eps1, weight: heavy}, "}, []string{
			`11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got "heavy"`,
		}},
		{"integer out of range", []string{"{name: eps1}, ", "{name: eps1, weight: 65536}, "}, []string{
			"11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got 65536",
		}},
		{"integer below its range", []string{"{name: eps1}, ", "{name: eps1, weight: -1}, "}, []string{
			"11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got -1",
		}},
		{"integer beyond all integers", []string{"{name: eps1}, ", "{name: eps1, weight: 99999999999999999999}, "}, []string{
			"11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got 99999999999999999999",
		}},
		{"integer in quotes", []string{"{name: eps1}, ", `{name: eps1, weight: "3"}, `}, []string{
			`11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got "3": leave the quotes out`,
		}},
		{"integer with a leading zero", []string{"{name: eps1}, ", "{name: eps1, weight: 010}, "}, []string{
			"11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got 010: leave the leading zero out",
		}},
		{"integer in hexadecimal", []string{"{name: eps1}, ", "{name: eps1, weight: 0x10}, "}, []string{
			"11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got 0x10",
		}},
		{"integer with a fraction", []string{"{name: eps1}, ", "{name: eps1, weight: 1.5}, "}, []string{
			"11:36: services[0].servers[0].weight: want an integer from 0 to 65535, got 1.5",
		}},
		{"boolean of old YAML", []string{"servers: [{name: eps1}, {name: eps2}]", "one_packet: yes\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:17: services[0].one_packet: want true or false, got "yes"`,
		}},
		{"duration without unit", []string{"cluster: shop", "cluster: shop\nha: {announce: 60}"}, []string{
			"2:16: ha.announce: want a duration from 1s to 24h, got 60: add a unit, as in 60s",
		}},
		{"duration out of steps", []string{"cluster: shop", "cluster: shop\nha: {interval: 15ms}"}, []string{
			`2:16: ha.interval: want a duration from 10ms to 40.95s in steps of 10ms, got "15ms"`,
		}},
		{"duration out of range", []string{"cluster: shop", "cluster: shop\nha: {interval: 41s}"}, []string{
			`2:16: ha.interval: want a duration from 10ms to 40.95s in steps of 10ms, got "41s"`,
		}},
		{"duration that is a word", []string{"cluster: shop", "cluster: shop\nforwarding: {timeouts: {udp: long}}"}, []string{
			`2:30: forwarding.timeouts.udp: want a duration from 1s to 24h, got "long"`,
		}},
		{"duration of zero", []string{"cluster: shop", "cluster: shop\nforwarding: {timeouts: {close: 0s}}"}, []string{
			`2:32: forwarding.timeouts.close: want a duration from 1s to 24h, got "0s"`,
		}},
		{"vrid zero", []string{"cluster: shop", "cluster: shop\nha: {vrid: 0}"}, []string{
			"2:12: ha.vrid: want an integer from 1 to 255, got 0",
		}},
		{"priority of an owner", []string{"{name: eds1,", "{name: eds1, priority: 255,"}, []string{
			"3:28: directors[0].priority: want an integer from 1 to 254, got 255",
		}},
		{"connection table too small", []string{"cluster: shop", "cluster: shop\nforwarding: {connections: 1000}"}, []string{
			"2:27: forwarding.connections: want an integer from 1024 to 64000000, got 1000",
		}},
		{"half open table", []string{"cluster: shop", "cluster: shop\nforwarding: {half_open: 100}"}, []string{
			"2:25: forwarding.half_open: want an integer from 1 to 90, got 100",
		}},
		{"enum with a hint", []string{"servers: [{name: eps1}, {name: eps2}]", "protocol: tpc\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:15: services[0].protocol: want tcp or udp, got "tpc", did you mean "tcp"?`,
		}},
		{"enum without a hint", []string{"servers: [{name: eps1}, {name: eps2}]", "protocol: sctp\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:15: services[0].protocol: want tcp or udp, got "sctp"`,
		}},
		{"scheduler with a hint", []string{"servers: [{name: eps1}, {name: eps2}]", "scheduler: wlcc\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:16: services[0].scheduler: want rr, wrr, lc, wlc, lblc, lblcr, sh, dh, sed, nq, fo, ovf, mh or twos, got "wlcc", did you mean "wlc"?`,
		}},
		{"topology with a hint", []string{"cluster: shop", "cluster: shop\ntopology: two-routers"}, []string{
			`2:11: topology: want two-router or one-router, got "two-routers", did you mean "two-router"?`,
		}},
		{"check type with a hint", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: htpp}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:19: services[0].check.type: want none, tcp, http, https, udp, exec or ping, got "htpp", did you mean "http"?`,
		}},
		{"name in capitals", []string{"cluster: shop", "cluster: Shop"}, []string{
			`1:10: cluster: want a name of 1 to 63 letters a-z, digits and inner hyphens, got "Shop", did you mean "shop"?`,
		}},
		{"name with a dot", []string{"cluster: shop", "cluster: shop.example"}, []string{
			`1:10: cluster: want a name of 1 to 63 letters a-z, digits and inner hyphens, got "shop.example"`,
		}},
		{"name too long", []string{"cluster: shop", "cluster: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, []string{
			`1:10: cluster: want a name of 1 to 63 letters a-z, digits and inner hyphens, got "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."`,
		}},
		{"relative file", []string{"cluster: shop", "cluster: shop\nha: {key_file: ha.key}"}, []string{
			`2:16: ha.key_file: want an absolute file name, got "ha.key"`,
		}},
		{"state file", []string{"cluster: shop", "cluster: shop\nforwarding: {state_file: memory}"}, []string{
			`2:26: forwarding.state_file: want an absolute file name or none, got "memory"`,
		}},
		{"device name too long", []string{"{name: eps1, address: 10.0.2.11}", "{name: eps1, address: 10.0.2.11, device: enp0s31f6.vlan100}"}, []string{
			`5:46: realservers[0].device: want a network device name of 1 to 15 characters, got "enp0s31f6.vlan100"`,
		}},
		{"address that is none", []string{"vip: 10.0.1.100", "vip: 10.0.1.300"}, []string{
			`9:10: services[0].vip: want an IPv4 or IPv6 address, got "10.0.1.300"`,
		}},
		{"address with a prefix length", []string{"vip: 10.0.1.100", "vip: 10.0.1.100/32"}, []string{
			`9:10: services[0].vip: want an IPv4 or IPv6 address, got "10.0.1.100/32": leave /32 out`,
		}},
		{"address with a zone", []string{"vip: 10.0.1.100", "vip: fe80::1%eth0"}, []string{
			`9:10: services[0].vip: want an IPv4 or IPv6 address, got "fe80::1%eth0": leave the zone %eth0 out`,
		}},
		{"address mapped into IPv6", []string{"vip: 10.0.1.100", "vip: ::ffff:10.0.1.100"}, []string{
			`9:10: services[0].vip: want an IPv4 or IPv6 address, got "::ffff:10.0.1.100": write 10.0.1.100`,
		}},
		{"address of the wrong family", []string{"{name: eps1, address: 10.0.2.11}", "{name: eps1, address: 10.0.2.11, address6: 10.0.2.13}"}, []string{
			`5:48: realservers[0].address6: want an IPv6 address, got "10.0.2.13"`,
		}},
		{"address6 beside an IPv6 address", []string{"{name: eps1, address: 10.0.2.11}", `{name: eps1, address: "fd00::11", address6: "fd00::12"}`}, []string{
			"5:49: realservers[0].address6: address is IPv6 already: give the IPv4 one as address, and the IPv6 one here",
		}},
		{"network with host bits", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: 10.0.1.1/24}}"}, []string{
			`2:27: networks.client.cidr: want a network like 192.168.1.0/24 or fd00:1::/64, got "10.0.1.1/24", did you mean "10.0.1.0/24"?`,
		}},
		{"network without a length", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: 10.0.1.0}}"}, []string{
			`2:27: networks.client.cidr: want a network like 192.168.1.0/24 or fd00:1::/64, got "10.0.1.0": add the prefix length, as in 10.0.1.0/24`,
		}},
		{"network of the wrong family", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr6: 10.0.1.0/24}}"}, []string{
			`2:28: networks.client.cidr6: want an IPv6 network like fd00:1::/64, got "10.0.1.0/24"`,
		}},
		{"cidr6 beside an IPv6 cidr", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: \"fd00:1::/64\", cidr6: \"fd00:3::/64\"}}"}, []string{
			"2:49: networks.client.cidr6: cidr is IPv6 already: give the IPv4 one as cidr, and the IPv6 one here",
		}},
		{"port zero", []string{"ports: 80", "ports: 0"}, []string{
			"10:12: services[0].ports: want a port from 1 to 65535, a range like 8000-8999, a list of these, or any, got 0",
		}},
		{"port range backwards", []string{"ports: 80", "ports: 8999-8000"}, []string{
			`10:12: services[0].ports: want a port from 1 to 65535, a range like 8000-8999, a list of these, or any, got "8999-8000", did you mean "8000-8999"?`,
		}},
		{"port in quotes", []string{"ports: 80", `ports: "80"`}, []string{
			`10:12: services[0].ports: want a port from 1 to 65535, a range like 8000-8999, a list of these, or any, got "80": leave the quotes out`,
		}},
		{"port names", []string{"ports: 80", "ports: [80, https]"}, []string{
			`10:17: services[0].ports[1]: want a port from 1 to 65535, a range like 8000-8999, a list of these, or any, got "https"`,
		}},
		{"any among ports", []string{"ports: 80", "ports: [80, any]"}, []string{
			`10:17: services[0].ports[1]: want a port from 1 to 65535, a range like 8000-8999, a list of these, or any, got "any"`,
		}},
		{"no port", []string{"ports: 80", "ports: []"}, []string{
			"10:12: services[0].ports: want a port from 1 to 65535, a range like 8000-8999, a list of these, or any, got an empty list",
		}},
		{"status out of range", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: http, status: [200, 600]}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:39: services[0].check.status[1]: want a status from 100 to 599, a range like 200-299, or a list of these, got 600",
		}},
		{"path that is relative", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: http, path: healthz}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:31: services[0].check.path: want a path like /healthz, without spaces, got "healthz"`,
		}},
		{"host with a path", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: http, host: shop.example/x}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:31: services[0].check.host: want a host name, with or without a port, got "shop.example/x"`,
		}},
		{"command that is a word", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: exec, command: [check, x]}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:34: services[0].check.command: want a list like [/usr/lib/svm/check, argument] that starts with an absolute file name",
		}},
		{"command missing", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: exec}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:12: services[0].check.command: is missing: an exec check needs a list like [/usr/lib/svm/check, argument]",
		}},
		{"alias", []string{"{name: eps1}, ", "{name: eps1, weight: &w 3}, ", "{name: eps2}]", "{name: eps2, weight: *w}]"}, []string{
			"11:64: services[0].servers[1].weight: aliases (*w) are not accepted: write the value out",
		}},
		{"alias of itself", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: &s [{name: eps1}, *s]"}, []string{
			"11:32: services[0].servers[1]: aliases (*s) are not accepted: write the value out",
		}},
		{"merge key", []string{"{name: eps1, address", "{<<: {device: eth1}, name: eps1, address"}, []string{
			"5:6: realservers[0]: merge keys (<<) are not accepted: write the values out",
		}},
		{"tag", []string{"{name: eps1}, ", "{name: eps1, weight: !!int 3}, "}, []string{
			"11:36: services[0].servers[0].weight: tags (!!int) are not accepted: leave it out",
		}},
	}
}
