package render

import (
	"fmt"
	"strings"
	"testing"
)

// big is a farm of n real servers behind two services.
func big(n int) Input {
	var rs, list strings.Builder
	for i := range n {
		fmt.Fprintf(&rs, "  - {name: eps%d, address: 10.2.%d.%d}\n", i, i/250, i%250+2)
		fmt.Fprintf(&list, "      - {name: eps%d}\n", i)
	}
	return Input{Generation: 1, YAML: []byte("cluster: big\nnetworks: {server: {cidr: 10.2.0.0/16, gateway: 10.2.255.254}}\n" +
		"directors:\n  - {name: eds1, client: {device: eth0, address: 10.1.0.2}, server: {device: eth1, address: 10.2.255.2}}\n" +
		"realservers:\n" + rs.String() + "services:\n" +
		"  - name: web\n    vip: 10.1.0.100\n    ports: 80\n    servers:\n" + list.String() +
		"  - name: tls\n    vip: 10.1.0.100\n    ports: 443\n    servers:\n" + list.String())}
}

// BenchmarkFarm renders every machine: the time for each must not grow with the farm.
func BenchmarkFarm(b *testing.B) {
	for _, n := range []int{50, 200, 800} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			in := big(n)
			b.ReportAllocs()
			for b.Loop() {
				everything(b, in)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/machine")
		})
	}
}
