// Package e2e tries the real svm-fwd and svm-rs in the farm of package farm, from
// a client's request to the real server's reply. It holds tests only.
//
// The two programs are built once a run, or taken from beside the test binary.
package e2e
