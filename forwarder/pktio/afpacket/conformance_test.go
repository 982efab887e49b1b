package afpacket

import (
	"testing"

	"github.com/svm-cluster/svm/forwarder/pktio/pktiotest"
)

func TestConformance(t *testing.T) {
	pktiotest.Run(t, func(t testing.TB, o pktiotest.Options) pktiotest.Rig {
		cfg := Config{Slots: 1024}
		if o.Small {
			cfg = Config{Slots: 128, QueueBytes: 256 << 10}
		}
		w := newWire(t)
		return pktiotest.Rig{
			Sender:   w.sender(t, w.a),
			Receiver: w.receivers(t, cfg, 1)[0],
			MAC:      w.dst,
			Slots:    cfg.Slots,
			MTU:      1500,
		}
	})
}
