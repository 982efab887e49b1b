package control

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/svm-cluster/svm/ha"
	"github.com/svm-cluster/svm/ha/flowsync"
)

func TestPairMetrics(t *testing.T) {
	s := flowsync.Status{Session: true, PeerSynced: true, RecordsOut: 7, Clashes: 2, Lag: 5 * time.Millisecond}
	s.Refused[flowsync.Forged] = 3
	m := newPairCollector(func() PairStatus {
		return PairStatus{HA: ha.Status{Priority: 200, Authenticated: true, Transitions: 4, Reports: map[string]uint64{string(ha.SplitBrain): 1}}, Sync: &s}
	})
	want := `
# HELP svm_ha_reports_total What the election noticed, such as split-brain or clock-stall.
# TYPE svm_ha_reports_total counter
svm_ha_reports_total{kind="split-brain"} 1
# HELP svm_sync_clashes_total Times that both directors were seen active.
# TYPE svm_sync_clashes_total counter
svm_sync_clashes_total 2
# HELP svm_sync_complete 1 if the backup of the two has all connections.
# TYPE svm_sync_complete gauge
svm_sync_complete 1
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "svm_ha_reports_total", "svm_sync_clashes_total", "svm_sync_complete"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(m)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	alone := newPairCollector(func() PairStatus { return PairStatus{} })
	if n := testutil.CollectAndCount(alone, "svm_sync_session"); n != 0 {
		t.Errorf("without a key there are %d metrics of the copy", n)
	}
}
