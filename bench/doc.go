// Package bench measures a whole director on a network of namespaces: packets a
// second, delay, new connections and uploads, each beside something simpler that
// does the same work with less.
//
//	go test -run '^$' -bench . ./bench/
//
// Runs of the two sides alternate and the ratio of their medians is reported,
// because absolute times mean little on a machine that does other work too. A
// benchmark takes its own fixed number of runs, whatever -benchtime says, and
// asserts no times. docs/performance.md says how to read the numbers.
package bench
