package station

import (
	"fmt"
	"strings"

	"github.com/svm-cluster/svm/bench/farm"
)

// ClusterText is the farm's cluster file, as its operator would write it: IPv4, one
// web service of all servers, and what more says, such as another service. weights
// are those of the servers; missing ones are 1.
func (f *Farm) ClusterText(scheduler string, weights []int, more string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	client, server := farm.ClientNet(), f.ServerNet
	p("# The web farm.")
	p("cluster: lab")
	p("networks:")
	p("  client: {cidr: %s, gateway: %s}", client.CIDR(4), client.Addr(4, farm.Router1Host))
	p("  server: {cidr: %s, gateway: %s}", server.CIDR(4), server.Addr(4, farm.Router2Host))
	p("station: {address: %s}", server.Addr(4, farm.StationHost))
	p("delivery: {ssh_user: root}")
	p("ha: {vrid: 51, interval: 100ms, key_file: /etc/svm/ha.key}")
	p("forwarding: {connections: 100000}")
	p("directors:")
	for i, d := range f.Farm.EDS {
		p("  - {name: %s, priority: %d, client: {device: eth0, address: %s}, server: {device: %s, address: %s}}",
			d.Name(), 200-100*i, client.Addr(4, farm.DirectorHost+i), f.ServerDev, server.Addr(4, farm.DirectorHost+i))
	}
	p("realservers:")
	for i, s := range f.Farm.EPS {
		p("  - {name: %s, address: %s, mac: %q}", s.Name(), server.Addr(4, farm.ServerHost+i), s.MAC("eth0"))
	}
	p("services:")
	p("  - name: web")
	p("    vip: %s", f.VIP(4))
	p("    ports: 80")
	p("    scheduler: %s", scheduler)
	p("    check: {type: http, port: 80, path: /healthz, status: 200, interval: 500ms, timeout: 400ms, rise: 1, fall: 3}")
	p("    servers:")
	for i, s := range f.Farm.EPS {
		weight := 1
		if i < len(weights) {
			weight = weights[i]
		}
		p("      - {name: %s, weight: %d}", s.Name(), weight)
	}
	return b.String() + more
}

// webUnit runs the farm's web server on a real server; the administrator of the
// machine put it there, not SVM.
const webUnit = `[Service]
ExecStart=/usr/local/bin/web
Environment=SVM_FARM_SERVE=%s
Restart=always
[Install]
WantedBy=multi-user.target
`
