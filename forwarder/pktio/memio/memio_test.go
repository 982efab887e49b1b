package memio

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/pktio/pktiotest"
)

func TestConformance(t *testing.T) {
	pktiotest.Run(t, func(t testing.TB, o pktiotest.Options) pktiotest.Rig {
		cfg := Config{Slots: 1024}
		if o.Small {
			cfg = Config{Slots: 128, LongFrames: 4}
		}
		r := NewReceiver(cfg)
		mac := [6]byte{2, 0, 0, 0, 0, 1}
		return pktiotest.Rig{Sender: r.NewSender(1500), Receiver: r, MAC: mac, Slots: cfg.Slots, MTU: 1500}
	})
}
