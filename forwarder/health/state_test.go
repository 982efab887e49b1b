package health

import (
	"strings"
	"testing"
)

// Results are letters, P a pass and F a failure. After each one the table has
// U (up) or D (down), and a ! where the state changed.
func TestState(t *testing.T) {
	for _, tt := range []struct {
		name         string
		rise, fall   int
		results, out string
	}{
		{"first success decides alone", 3, 3, "P", "U!"},
		{"first failure decides alone", 3, 3, "F", "D!"},
		{"fall in a row", 2, 3, "PFFF", "U! U U D!"},
		{"a pass between starts the count afresh", 2, 3, "PFFPFFF", "U! U U U U U D!"},
		{"rise in a row", 2, 3, "FPP", "D! D U!"},
		{"a failure between starts the count afresh", 2, 3, "FPFPP", "D! D D D U!"},
		{"rise and fall 1 follow each result", 1, 1, "PFPF", "U! D! U! D!"},
		{"after going down, rise counts from zero", 2, 2, "PFFPP", "U! U D! D U!"},
		{"after coming up, fall counts from zero", 2, 2, "FPPFF", "D! D U! U D!"},
		{"further results that agree change nothing", 2, 2, "PPPP", "U! U U U"},
		{"flapping below fall never takes it down", 2, 2, "PFPFPFPF", "U! U U U U U U U"},
		{"flapping below rise never brings it up", 2, 2, "FPFPFPFP", "D! D D D D D D D"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s state
			var got []string
			for _, r := range tt.results {
				var changed bool
				s, changed = s.next(r == 'P', tt.rise, tt.fall)
				o := "D"
				if s.up {
					o = "U"
				}
				if changed {
					o += "!"
				}
				if !s.known {
					t.Errorf("not known after %q", r)
				}
				got = append(got, o)
			}
			if g := strings.Join(got, " "); g != tt.out {
				t.Errorf("%s with rise %d, fall %d:\ngot  %s\nwant %s", tt.results, tt.rise, tt.fall, g, tt.out)
			}
		})
	}
}

// The streak is shown to people, so its values matter.
func TestStateStreak(t *testing.T) {
	var s state
	for i, step := range []struct {
		pass   bool
		streak int
	}{{true, 0}, {false, 1}, {false, 2}, {true, 0}, {false, 1}, {false, 2}, {false, 0}, {true, 1}, {false, 0}} {
		if s, _ = s.next(step.pass, 2, 3); s.streak != step.streak {
			t.Errorf("step %d: streak %d, want %d", i, s.streak, step.streak)
		}
	}
}
