package station

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The station sees what every machine is on, names a file that was edited by hand, and
// the next push puts it right.
func TestStatus(t *testing.T) {
	f := newFarm(t, 2)
	check(t, f.Init(t.Context(), f.ClusterText("rr", nil, "")))
	check(t, f.Enroll(t.Context()))
	if _, err := f.Ems(t.Context(), "push"); err != nil {
		t.Fatal(err)
	}
	check(t, f.Serving(t.Context()))
	out, err := f.Ems(t.Context(), "status")
	if err != nil {
		t.Error(err)
	}
	t.Log("\n" + out)
	for _, want := range []string{"eds1", "active", "eds2", "backup", "eps1", "eps2"} {
		if !strings.Contains(out, want) {
			t.Errorf("the status does not say %q", want)
		}
	}
	out, err = f.Ems(t.Context(), "status", "-j")
	if err != nil || !json.Valid([]byte(out)) {
		t.Errorf("-j: %v\n%s", err, out)
	}
	out, err = f.Ems(t.Context(), "plan")
	if err != nil {
		t.Error(err)
	}
	t.Log("\n" + out)

	// An operator edits a file with an editor that writes a new one in its place.
	const path = "/etc/svm/cluster.yaml"
	text, err := f.EPS[0].read(path)
	check(t, err)
	check(t, os.Remove(f.EPS[0].Path(path)))
	check(t, f.EPS[0].Write(path, text+"# by hand\n", 0o644))
	out, err = f.Ems(t.Context(), "status")
	if err == nil || !strings.Contains(out+err.Error(), path) {
		t.Errorf("the edited file is not named: %s %v", out, err)
	}
	t.Log("\n", out, err)
	check(t, f.EMS.Write("/root/cluster.yaml", f.ClusterText("wrr", []int{3, 1}, ""), 0o644))
	out, err = f.Ems(t.Context(), "plan", "/root/cluster.yaml")
	if err != nil || !strings.Contains(out, "+") || !strings.Contains(out, "scheduler: wrr") {
		t.Errorf("plan: %v\n%s", err, out)
	}
	t.Log("\n" + out)
	if _, err := f.Ems(t.Context(), "push", "/root/cluster.yaml"); err != nil {
		t.Fatal(err)
	}
	if out, err := f.Ems(t.Context(), "status"); err != nil {
		t.Errorf("after a push: %s %v", out, err)
	}
	if now, err := f.EPS[0].read(path); err != nil || strings.Contains(now, "by hand") {
		t.Errorf("the edit is still there: %v", err)
	}
	out, err = f.Ems(t.Context(), "history")
	check(t, err)
	t.Log("\n" + out)
}
