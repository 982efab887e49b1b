package main

import (
	"context"
	"os"
	"testing"

	"github.com/svm-cluster/svm/bench/netlab"
)

// asCommand makes this test binary behave as svm-fwd itself, with the folder that
// it names in place of /etc.
const asCommand = "SVM_FWD_TEST_ETC"

// noRaceSleep spares each process under the race detector a second at its end.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if etc := os.Getenv(asCommand); etc != "" {
		os.Exit(execute(context.Background(), os.Args, os.Stdout, os.Stderr, etc))
	}
	netlab.Main(m)
}
