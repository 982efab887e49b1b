package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tasks calls f with the /proc directory of each thread of a process.
func tasks(pid int, f func(dir string)) {
	list, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*")
	for _, dir := range list {
		f(dir)
	}
}

// processTime is the processor time that all threads of a process have had until
// each was last taken off its processor.
func processTime(pid int) (sum time.Duration) {
	tasks(pid, func(dir string) {
		b, _ := os.ReadFile(filepath.Join(dir, "schedstat")) // a thread that ended counts 0
		ran, _, _ := strings.Cut(string(b), " ")
		ns, _ := strconv.ParseInt(ran, 10, 64)
		sum += time.Duration(ns)
	})
	return sum
}

// processRuns tells whether a stopped process has a thread that has not stopped yet.
func processRuns(pid int) (any bool) {
	tasks(pid, func(dir string) {
		b, err := os.ReadFile(filepath.Join(dir, "stat"))
		if i := bytes.LastIndexByte(b, ')'); err == nil && i >= 0 && len(b) > i+2 && b[i+2] != 'T' {
			any = true
		}
	})
	return any
}
