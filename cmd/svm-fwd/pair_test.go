package main

import (
	"testing"
	"time"
)

// A role that could not be taken is tried again, later and later.
func TestRetryAfter(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: 10 * time.Second, 1: 20 * time.Second, 5: 320 * time.Second, 6: 10 * time.Minute, 1000: 10 * time.Minute} {
		if got := retryAfter(failures); got != want {
			t.Errorf("after %d more failures: %v, want %v", failures, got, want)
		}
	}
}
