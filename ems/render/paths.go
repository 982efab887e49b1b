package render

import (
	"path"
	"slices"
	"strings"
)

// pinned are the files that a machine was enrolled with. No configuration, however
// well signed, changes whom the machine believes.
func pinned() []string { return []string{"/etc/svm/station.pub", "/etc/svm/machine.key"} }

// pathProblem says why no file of a configuration may lie at p; "" if it may.
func pathProblem(p string) string {
	switch {
	case len(p) > 200:
		return "longer than 200 bytes"
	case !strings.HasPrefix(p, "/"):
		return "not absolute"
	case path.Clean(p) != p:
		return "not in its shortest form"
	case !isPlain(p, "/._-@+"):
		return "it has other characters than letters, digits and / . _ - @ +"
	case slices.Contains(pinned(), p):
		return "it is pinned on the machine, enroll the machine again to change it"
	}
	dir, name := path.Split(p)
	switch {
	case strings.HasPrefix(p, "/etc/svm/"):
	case dir == unitDir && strings.HasPrefix(name, "svm-") && (strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".socket")):
	case dir == "/etc/sysctl.d/" && strings.HasPrefix(name, "90-svm") && strings.HasSuffix(name, ".conf"):
	case dir == "/etc/systemd/network/" && strings.Contains(name, "svm") && strings.HasSuffix(name, ".network"):
	default:
		return "a place that SVM doesn't configure"
	}
	return ""
}

// isLabel is what the cluster file calls a name.
func isLabel(s string) bool {
	return len(s) <= 63 && isPlain(s, "-") && strings.ToLower(s) == s && s[0] != '-' && s[len(s)-1] != '-'
}

func isDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
