package bench

import (
	"testing"

	"github.com/svm-cluster/svm/bench/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }
