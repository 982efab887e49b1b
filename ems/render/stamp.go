package render

import (
	"bytes"
	"fmt"
)

const stampStart = "# svm: cluster "

// Line is the comment that every file but the keys starts with, and its newline.
func (s Stamp) Line(node string) string {
	return fmt.Sprintf("%s%s, generation %d, sha256 %s, machine %s: made by the station, changes here are lost\n",
		stampStart, s.Cluster, s.Generation, s.Digest, node)
}

// Unstamped is data without its stamp; data itself where it has none.
func Unstamped(data []byte) []byte {
	if !bytes.HasPrefix(data, []byte(stampStart)) {
		return data
	}
	_, rest, _ := bytes.Cut(data, []byte("\n"))
	return rest
}
