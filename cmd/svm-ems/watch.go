package main

import (
	"reflect"
	"time"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/station"
)

// longestWatch bounds how long a push waits for changed health checks to speak.
const longestWatch = 2 * time.Minute

// watch is how long after the switch a server may still be up by the word of a check
// that the new file changes: until then the farm's health proves nothing. before is the
// journal of the last push, nil if there was none.
func watch(s *station.Station, before *station.Journal, now *cluster.Cluster) time.Duration {
	if before == nil || before.Delivered == 0 {
		return 0
	}
	g, err := s.Generation(before.Delivered)
	if err != nil {
		return 0
	}
	old, err := cluster.Parse("cluster.yaml", g.YAML)
	if err != nil {
		return 0
	}
	return speak(old, now)
}

// speak is how long the checks that differ between two files take to find a server down.
func speak(old, now *cluster.Cluster) time.Duration {
	checks := map[string]cluster.Check{}
	for _, v := range old.Services {
		checks[v.Name] = v.Check
	}
	longest := time.Duration(0)
	for _, v := range now.Services {
		was, had := checks[v.Name]
		if had && v.Check.Type != cluster.CheckNone && !reflect.DeepEqual(was, v.Check) {
			longest = max(longest, time.Duration(v.Check.Fall)*v.Check.Interval+v.Check.Timeout)
		}
	}
	return min(longest, longestWatch)
}
