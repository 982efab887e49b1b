package cluster

// badMeanings break what several keys must say together.
func badMeanings() []badCase {
	return []badCase{
		{"routed multicast", []string{"cluster: shop", "cluster: shop\nha: {check_ttl: false}"}, []string{
			"2:17: ha.check_ttl: may be false only with unicast: true, since no router passes multicast advertisements on",
		}},
		{"one port for two", []string{"cluster: shop", "cluster: shop\ndelivery: {ssh_port: 8485}"}, []string{
			"2:22: delivery.ssh_port: 8485 is config_port already: give each a port of its own",
		}},
		{"one port for two, both given", []string{"cluster: shop", "cluster: shop\ndelivery: {config_port: 80, ssh_port: 80}"}, []string{
			"2:25: delivery.config_port: 80 is ssh_port already: give each a port of its own",
		}},
		{"one Ethernet address for two", []string{"address: 10.0.2.11", "address: 10.0.2.11, mac: 52:54:00:AB:00:01", "address: 10.0.2.12", "address: 10.0.2.12, mac: 52-54-00-ab-00-01"}, []string{
			"6:43: realservers[1].mac: 52:54:00:ab:00:01 is the address of realservers[0] (line 5) already: each device has its own",
		}},
		{"Ethernet address of a group", []string{"address: 10.0.2.11", "address: 10.0.2.11, mac: 01:00:5e:00:00:12"}, []string{
			`5:43: realservers[0].mac: want an Ethernet address like 52:54:00:12:34:56, got "01:00:5e:00:00:12": that is a group's address, not a device's`,
		}},
		{"Ethernet address of nobody", []string{"address: 10.0.2.11", `address: 10.0.2.11, mac: "00:00:00:00:00:00"`}, []string{
			`5:43: realservers[0].mac: want an Ethernet address like 52:54:00:12:34:56, got "00:00:00:00:00:00": no device has it, leave the key out`,
		}},
		{"no Ethernet address", []string{"address: 10.0.2.11", "address: 10.0.2.11, mac: 5254.00ab.0001", "address: 10.0.2.12", "address: 10.0.2.12, mac: 02:00:00:00:00:00:00:01"}, []string{
			`5:43: realservers[0].mac: want an Ethernet address like 52:54:00:12:34:56, got "5254.00ab.0001"`,
			`6:43: realservers[1].mac: want an Ethernet address like 52:54:00:12:34:56, got "02:00:00:00:00:00:00:01"`,
		}},
		{"no user name", []string{"cluster: shop", "cluster: shop\ndelivery: {ssh_user: -oProxyCommand=x, dhcp: yes}"}, []string{
			`2:22: delivery.ssh_user: want a user name of 1 to 32 lower-case letters, digits, _ and -, got "-oProxyCommand=x"`,
			`2:46: delivery.dhcp: want true or false, got "yes"`,
		}},
		{"key of another check", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: tcp, path: /healthz, verify_certificate: true}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:30: services[0].check.path: is for checks of type http or https, this one is tcp: leave it out",
			"11:60: services[0].check.verify_certificate: is for checks of type https, this one is tcp: leave it out",
		}},
		{"expect with http", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: http, expect: ok}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:33: services[0].check.expect: is for checks of type tcp or udp, this one is http: leave it out",
		}},
		{"port with ping", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: ping, port: 80}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:31: services[0].check.port: is for checks of type tcp, http, https, udp or exec, this one is ping: leave it out",
		}},
		{"check slower than its interval", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {interval: 500ms, timeout: 1s}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:39: services[0].check.timeout: want at most the interval, which is 500ms, got 1s",
		}},
		{"check of any port", []string{"ports: 80", "ports: any\n    check: {}"}, []string{
			"11:12: services[0].check.port: is missing: the service takes any port, say which one the tcp check asks",
		}},
		{"http check of a udp service", []string{"servers: [{name: eps1}, {name: eps2}]", "protocol: udp\n    check: {type: http}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"12:12: services[0].check.port: is missing: the service is udp, say which port the http check asks",
		}},
		{"udp check of a tcp service", []string{"servers: [{name: eps1}, {name: eps2}]", "check: {type: udp}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:12: services[0].check.port: is missing: the service is tcp, say which port the udp check asks",
		}},
		{"one_packet with tcp", []string{"servers: [{name: eps1}, {name: eps2}]", "one_packet: true\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:17: services[0].one_packet: want a service with protocol udp, this one is tcp",
		}},
		{"one_packet with persistence", []string{"servers: [{name: eps1}, {name: eps2}]", "protocol: udp\n    one_packet: true\n    persistence: {}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"13:18: services[0].persistence: has no meaning with one_packet, where no packet knows the one before: leave one of them out",
		}},
		{"persistence too long", []string{"servers: [{name: eps1}, {name: eps2}]", "persistence: {timeout: 169h}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`11:28: services[0].persistence.timeout: want a duration from 1s to 168h, got "169h"`,
		}},
		{"netmask too long for IPv4", []string{"servers: [{name: eps1}, {name: eps2}]", "persistence: {netmask: 64}\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:28: services[0].persistence.netmask: want an integer from 1 to 32 for the IPv4 address 10.0.1.100, got 64",
		}},
		{"flag unknown", []string{"servers: [{name: eps1}, {name: eps2}]", "scheduler: sh\n    flags: [sh-prot]\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			`12:13: services[0].flags[0]: want fallback, mh-port, sh-port, mh-fallback or sh-fallback, got "sh-prot", did you mean "sh-port"?`,
		}},
		{"flag of another scheduler", []string{"servers: [{name: eps1}, {name: eps2}]", "flags: [sh-port]\n    servers: [{name: eps1}, {name: eps2}]"}, []string{
			"11:12: services[0].flags: sh-port is a flag of the scheduler sh, this service has wlc",
		}},
		{"lower above upper", []string{"{name: eps1}, ", "{name: eps1, upper: 10, lower: 20}, "}, []string{
			"11:46: services[0].servers[0].lower: want at most upper, which is 10, got 20",
		}},
		{"lower without upper", []string{"{name: eps1}, ", "{name: eps1, lower: 20}, "}, []string{
			"11:35: services[0].servers[0].lower: want at most upper, which is 0, got 20",
		}},
		{"server unknown", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: [{name: esp1}]"}, []string{
			`11:22: services[0].servers[0].name: no real server is named "esp1", did you mean "eps1"?`,
		}},
		{"server unknown and like no other", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: [{name: database}]"}, []string{
			`11:22: services[0].servers[0].name: no real server is named "database": list it under realservers`,
		}},
		{"server listed twice", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: [{name: eps1}, {name: eps2}, {name: eps1}]"}, []string{
			`11:50: services[0].servers[2].name: "eps1" is in this list already, as servers[0] (line 11): leave one out`,
		}},
		{"director named twice", []string{"realservers:", "  - {name: eds1, client: {device: eth0, address: 10.0.1.3}, server: {device: eth1, address: 10.0.2.3}}\nrealservers:"}, []string{
			`4:12: directors[1].name: "eds1" is the name of directors[0] (line 3) already: give each a name of its own`,
		}},
		{"real server named twice", []string{"{name: eps2, address", "{name: eps1, address", "servers: [{name: eps1}, {name: eps2}]", "servers: []"}, []string{
			`6:12: realservers[1].name: "eps1" is the name of realservers[0] (line 5) already: give each a name of its own`,
		}},
		{"service named twice", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: [{name: eps1}, {name: eps2}]\n  - {name: web, vip: 10.0.1.101, ports: 80, servers: []}"}, []string{
			`12:12: services[1].name: "web" is the name of services[0] (line 8) already: give each a name of its own`,
		}},
		{"no director", []string{"directors:\n  - {name: eds1, client: {device: eth0, address: 10.0.1.2}, server: {device: eth1, address: 10.0.2.2}}", "directors: []"}, []string{
			"2:12: directors: want a list of one or two directors, got 0",
		}},
		{"three directors", []string{"realservers:", "  - {name: eds2, client: {device: eth0, address: 10.0.1.3}, server: {device: eth1, address: 10.0.2.3}}\n  - {name: eds3, client: {device: eth0, address: 10.0.1.4}, server: {device: eth1, address: 10.0.2.4}}\nrealservers:"}, []string{
			"3:3: directors: want a list of one or two directors, got 3",
		}},
		{"two services on one port", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: [{name: eps1}, {name: eps2}]\n  - {name: shop, vip: 10.0.1.100, ports: [443, 80], servers: []}"}, []string{
			"12:42: services[1].ports: shop and web (line 8) both claim 10.0.1.100 tcp port 80: a packet can have one service only",
		}},
		{"two services on a range", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: [{name: eps1}, {name: eps2}]\n  - {name: shop, vip: 10.0.1.100, ports: [8000-8999], servers: []}\n  - {name: api, vip: 10.0.1.100, ports: [8500-9500], servers: []}"}, []string{
			"13:41: services[2].ports: api and shop (line 12) both claim 10.0.1.100 tcp ports 8500-8999: a packet can have one service only",
		}},
		{"two services, one of any port", []string{"servers: [{name: eps1}, {name: eps2}]", "servers: [{name: eps1}, {name: eps2}]\n  - {name: rest, vip: 10.0.1.100, ports: any, servers: []}"}, []string{
			"12:42: services[1].ports: rest and web (line 8) both claim 10.0.1.100 tcp port 80: a packet can have one service only",
		}},
		{"vip of a director", []string{"vip: 10.0.1.100", "vip: 10.0.1.2"}, []string{
			`9:10: services[0].vip: 10.0.1.2 is the client address of director "eds1" (line 3) already: a VIP is an address of its own`,
		}},
		{"vip of a real server", []string{"vip: 10.0.1.100", "vip: 10.0.2.12"}, []string{
			`9:10: services[0].vip: 10.0.2.12 is the address of real server "eps2" (line 6) already: a VIP is an address of its own`,
		}},
		{"vip of the station", []string{"cluster: shop", "cluster: shop\nstation: {address: 10.0.1.100}"}, []string{
			"10:10: services[0].vip: 10.0.1.100 is the address of the station (line 2) already: a VIP is an address of its own",
		}},
		{"vip of a gateway", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {gateway: 10.0.1.100}}"}, []string{
			"10:10: services[0].vip: 10.0.1.100 is the gateway of the client network (line 2) already: a VIP is an address of its own",
		}},
		{"vip multicast", []string{"vip: 10.0.1.100", "vip: 224.0.0.18"}, []string{
			"9:10: services[0].vip: 224.0.0.18 is a multicast address: want a unicast address of the service's own",
		}},
		{"vip loopback", []string{"vip: 10.0.1.100", "vip: ::1"}, []string{
			"9:10: services[0].vip: ::1 is a loopback address: want a unicast address of the service's own",
		}},
		{"vip unspecified", []string{"vip: 10.0.1.100", "vip: 0.0.0.0"}, []string{
			"9:10: services[0].vip: 0.0.0.0 is the unspecified address: want a unicast address of the service's own",
		}},
		{"vip link-local", []string{"vip: 10.0.1.100", "vip: fe80::1"}, []string{
			"9:10: services[0].vip: fe80::1 is a link-local address: want a unicast address of the service's own",
		}},
		{"vip broadcast", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: 10.0.1.0/24}}", "vip: 10.0.1.100", "vip: 10.0.1.255"}, []string{
			"10:10: services[0].vip: 10.0.1.255 is the first or last address of 10.0.1.0/24, which no machine can have",
		}},
		{"director outside its network", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: 10.9.0.0/24}}"}, []string{
			"4:50: directors[0].client.address: 10.0.1.2 is outside the client network 10.9.0.0/24",
		}},
		{"real server outside its network", []string{"cluster: shop", "cluster: shop\nnetworks: {server: {cidr: 10.0.2.0/29}}"}, []string{
			"6:27: realservers[0].address: 10.0.2.11 is outside the server network 10.0.2.0/29",
			"7:27: realservers[1].address: 10.0.2.12 is outside the server network 10.0.2.0/29",
		}},
		{"gateway outside its network", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: 10.0.1.0/24, gateway: 10.0.9.1}}"}, []string{
			"2:49: networks.client.gateway: 10.0.9.1 is outside the client network 10.0.1.0/24",
		}},
		{"gateway is the network itself", []string{"cluster: shop", "cluster: shop\nnetworks: {client: {cidr: 10.0.1.0/24, gateway: 10.0.1.0}}"}, []string{
			"2:49: networks.client.gateway: 10.0.1.0 is the client network's own address: no machine can have it",
		}},
		{"address of two machines", []string{"address: 10.0.2.12", "address: 10.0.2.11"}, []string{
			`6:27: realservers[1].address: 10.0.2.11 is the address of real server "eps1" (line 5) already`,
		}},
		{"address of a director and the station", []string{"cluster: shop", "cluster: shop\nstation: {address: 10.0.2.2}"}, []string{
			"4:93: directors[0].server.address: 10.0.2.2 is the address of the station (line 2) already",
		}},
		{"address of both sides", []string{"address: 10.0.2.2}", "address: 10.0.1.2}"}, []string{
			`3:93: directors[0].server.address: 10.0.1.2 is the client address of director "eds1" (line 3) already`,
		}},
		{"machine with a loopback address", []string{"address: 10.0.2.12", "address: 127.0.0.1"}, []string{
			"6:27: realservers[1].address: 127.0.0.1 is a loopback address: no machine can have it",
		}},
		{"networks that overlap", []string{"cluster: shop", "cluster: shop\nnetworks:\n  client: {cidr: 10.0.0.0/16}\n  server: {cidr: 10.0.2.0/24}"}, []string{
			"4:18: networks.server.cidr: 10.0.2.0/24 overlaps the client network 10.0.0.0/16 (line 3): give the sides networks of their own, or each director one device for both",
		}},
		{"IPv6 check of an IPv4 server", []string{"vip: 10.0.1.100", "vip: fd00::100\n    check: {}"}, []string{
			"12:22: services[0].servers[0].name: eps1 has no IPv6 address, which the tcp check of fd00::100 needs: add address6 to realservers[0] (line 5)",
			"12:36: services[0].servers[1].name: eps2 has no IPv6 address, which the tcp check of fd00::100 needs: add address6 to realservers[1] (line 6)",
		}},
		{"IPv4 check of an IPv6 server", []string{"address: 10.0.2.12", `address: "fd00:2::12"`, "ports: 80", "ports: 80\n    check: {}"}, []string{
			"12:36: services[0].servers[1].name: eps2 has no IPv4 address, which the tcp check of 10.0.1.100 needs: make it the address of realservers[1] (line 6), and the IPv6 one its address6",
		}},
	}
}
