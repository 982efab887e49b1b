package e2e

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/svm-cluster/svm/bench/farm"
	"github.com/svm-cluster/svm/forwarder/control"
)

// testFaults sends frames that must go nowhere: each is counted under its reason,
// as svm-fwd status -j shows.
func testFaults(t *testing.T, r *rig) {
	for _, fam := range farm.Both() {
		m := r.maker(t, fam, webVIP)
		udp := func(port layers.UDPPort) []byte {
			return m.frame(m.ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: 25000, DstPort: port}, gopacket.Payload("nobody's business"))
		}
		good := udp(echoPort)
		cut := func(n int) []byte { return bytes.Clone(good[:n]) }
		change := func(at int, b byte) []byte {
			f := bytes.Clone(good)
			f[at] = b
			return f
		}
		head := 14 + 20
		if fam == 6 {
			head = 14 + 40
		}
		tagged := append(append(bytes.Clone(good[:12]), 0x81, 0, 0, 42), good[12:]...)
		faults := []struct {
			reason string
			frame  []byte
		}{
			{"vlan", tagged},
			{"ip-length", cut(head + 4)},
			{"short", m.frame(m.ip(layers.IPProtocolUDP), gopacket.Payload("ports"))},
			{"ip-header", change(14, 0x05)},
			{"no-service", udp(9)},
			{"martian", func() []byte {
				own := *m
				own.src = m.dst
				return own.frame(own.ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: 1, DstPort: echoPort})
			}()},
			{"unknown-fragment", func() []byte {
				big := m.frame(m.ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: 25001, DstPort: echoPort}, gopacket.Payload(make([]byte, 2000)))
				if fam == 4 {
					return fragments4(big, 1480)[1]
				}
				return fragments6(big, 1232, 99)[1]
			}()},
		}
		if fam == 4 {
			faults = append(faults, struct {
				reason string
				frame  []byte
			}{"protocol", change(14+9, 47)})
		} else {
			faults = append(faults, struct {
				reason string
				frame  []byte
			}{"protocol", change(14+6, 47)})
		}
		for _, f := range faults {
			t.Run(fmt.Sprintf("%s %s", fam, f.reason), func(t *testing.T) {
				before := r.reasons(t)
				const times = 5
				for range times {
					if err := r.Router1.Send("eth1", f.frame); err != nil {
						t.Fatal(err)
					}
				}
				var now map[string]uint64
				err := farm.Await(within(t), func() bool {
					now = r.reasons(t)
					return now[f.reason] >= before[f.reason]+times
				})
				if err != nil {
					t.Fatalf("not counted as %s; counted since: %v", f.reason, gain(before, now))
				}
			})
		}
	}
	var shown control.Status
	r.json(t, &shown, "status", "-j")
	if n := sumReasons(shown.Workers)["vlan"]; n < 10 {
		t.Errorf("svm-fwd status -j shows %d frames with a VLAN tag, want 10", n)
	}
}
