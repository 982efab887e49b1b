package machine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func TestLife(t *testing.T) {
	f := newFarm(t)
	f.want(t, 0, Bare)

	f.step(t, 1, "stage")
	same(t, f.onHost(t), nil)
	if st, err := f.s.State(ctx); err != nil || st.Phase != Staged || st.Staged.Generation != 1 || st.Node != "eds1" {
		t.Fatalf("%+v, %v", st, err)
	}
	f.step(t, 1, "switch")
	if st := f.want(t, 1, Switched); st.Previous != nil || st.Confirmed != 0 || st.Applied.Generation != 1 {
		t.Errorf("%+v", st)
	}
	if m, _, err := f.s.Confirmed(); m != nil || err != nil {
		t.Errorf("confirmed before it was: %v, %v", m, err)
	}
	f.step(t, 1, "confirm", "confirm", "switch") // again does nothing
	f.want(t, 1, Settled)

	f.step(t, 4, "stage", "stage", "switch")
	if st := f.want(t, 4, Switched); st.Previous.Generation != 1 {
		t.Errorf("%+v", st)
	}
	if to, _ := os.Readlink(filepath.Join(f.dir, "previous")); to != genName(1) {
		t.Errorf("previous -> %q", to)
	}
	m, _, err := f.s.Confirmed()
	if err != nil || m.Generation != 1 {
		t.Errorf("confirmed is %v, %v", m, err)
	}
	f.step(t, 4, "rollback", "rollback")
	f.want(t, 1, Settled)
	if _, err := os.Lstat(filepath.Join(f.dir, "previous")); err == nil {
		t.Error("previous is still there")
	}

	f.push(t, 4)
	m, p, err := f.s.Current()
	if err != nil || m.Generation != 4 || string(p.Bundle) != "bundle 4" || string(p.Signature) != "sig\n" || p.BundleSig != nil {
		t.Errorf("proof: %v %v %v", m, p, err)
	}
	f.push(t, 5)
	f.push(t, 6)
	f.want(t, 6, Settled)
	if left, _ := filepath.Glob(f.dir + "/generations/*"); len(left) != 2 || !slices.Contains(left, f.dir+"/"+genName(5)) {
		t.Errorf("kept: %v, want 5 and 6", left)
	}
	want := []string{
		"check 0 1", "activate 0 1", "settle 0 1",
		"check 0 4", "check 0 4", "activate 1 4", "activate 4 1", "settle 4 1",
		"check 0 4", "activate 1 4", "settle 1 4",
		"check 0 5", "activate 4 5", "settle 4 5", "check 0 6", "activate 5 6", "settle 5 6",
	}
	if !slices.Equal(f.act.calls, want) {
		t.Errorf("the Activator was called\n%q, want\n%q", f.act.calls, want)
	}
}

func TestRefusedTurns(t *testing.T) {
	f := newFarm(t)
	f.push(t, 3)
	for _, tc := range []struct {
		verb string
		gen  uint64
		want error
	}{
		{"stage", 2, ErrOld}, {"stage", 3, ErrOld},
		{"switch", 2, ErrNotStaged}, {"switch", 4, ErrNotStaged}, {"switch", 0, ErrNotStaged},
		{"confirm", 2, ErrNotCurrent}, {"confirm", 4, ErrNotCurrent}, {"confirm", 0, ErrNotCurrent},
		{"rollback", 3, nil}, {"rollback", 9, nil}, {"rollback", 0, nil},
	} {
		if err := f.do(tc.verb, tc.gen); !errors.Is(err, tc.want) {
			t.Errorf("%s %d: %v, want %v", tc.verb, tc.gen, err, tc.want)
		}
	}
	c := config(4)
	c.Cluster = "other"
	if err := f.s.Stage(ctx, c, Proof{}); !errors.Is(err, ErrForeign) {
		t.Errorf("a foreign cluster: %v", err)
	}
	f.want(t, 3, Settled)

	f.step(t, 4, "stage", "switch", "stage") // the same once more does nothing
	c = config(4)
	c.Digest = config(5).Digest
	if err := f.s.Stage(ctx, c, Proof{}); err == nil {
		t.Error("another generation 4 was staged over the one that rules")
	}
	f.want(t, 4, Switched)
}

// A generation that was never confirmed doesn't stand in the way of the next one.
func TestUnconfirmedChain(t *testing.T) {
	f := newFarm(t)
	f.push(t, 1)
	f.step(t, 2, "stage", "switch")
	f.step(t, 3, "stage", "switch")
	if st := f.want(t, 3, Switched); st.Previous.Generation != 1 {
		t.Errorf("%+v", st)
	}
	f.act.fail = map[string]int{"activate": 3} // back to 1, again, and 4
	f.step(t, 4, "stage")
	if err := f.do("switch", 4); err == nil {
		t.Error("switched in spite of a failing activation")
	}
	f.want(t, 1, Staged) // 4 is still there
	f.step(t, 4, "switch", "confirm")
	f.want(t, 4, Settled)
}

func TestActivationFails(t *testing.T) {
	for _, from := range []uint64{0, 1} {
		f := newFarm(t)
		if from != 0 {
			f.push(t, from)
		}
		f.step(t, 2, "stage")
		f.act.fail = map[string]int{"activate": 1}
		err := f.do("switch", 2)
		if err == nil {
			t.Fatal("switched in spite of a failing activation")
		}
		t.Log(err)
		f.want(t, from, Staged)
		if f.act.ruler != "0" && f.act.ruler != "1" {
			t.Errorf("daemons obey %s", f.act.ruler)
		}
		f.act.fail = map[string]int{"activate": 2} // the way back fails, too
		err = f.do("switch", 2)
		if err == nil {
			t.Fatal("switched in spite of a failing activation")
		}
		t.Log(err)
		st := f.want(t, from, Staged)
		if from != 0 && st.Applied != nil {
			t.Errorf("%+v", st)
		}
		f.step(t, 2, "recover")
		if from != 0 && f.act.ruler != "1" {
			t.Errorf("after the recovery daemons obey %s", f.act.ruler)
		}
		f.step(t, 2, "switch", "confirm")
		f.want(t, 2, Settled)
	}
}

func TestCheckFails(t *testing.T) {
	f := newFarm(t)
	f.push(t, 1)
	f.act.fail = map[string]int{"check": 1}
	if err := f.do("stage", 2); err == nil {
		t.Fatal("staged in spite of the check")
	}
	f.want(t, 1, Settled)
	if left, _ := filepath.Glob(f.dir + "/generations/*"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// What can't be settled doesn't undo the confirmation, and is tried again.
func TestSettleFails(t *testing.T) {
	f := newFarm(t)
	f.push(t, 1)
	f.step(t, 2, "stage", "switch")
	f.act.fail = map[string]int{"settle": 2}
	if err := f.do("confirm", 2); err == nil {
		t.Fatal("no error")
	}
	st, err := f.s.State(ctx)
	if err != nil || !st.Unsettled || st.Confirmed != 2 || st.Phase != Settled {
		t.Fatalf("%+v, %v", st, err)
	}
	if err := f.do("recover", 0); err == nil {
		t.Fatal("no error")
	}
	f.step(t, 2, "recover")
	if st := f.want(t, 2, Settled); st.Unsettled {
		t.Error("still unsettled")
	}
}

// Who may read what, whatever the umask: daemons their files, nobody else a secret.
func TestModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	f := newFarm(t)
	f.push(t, 1)
	f.step(t, 2, "stage", "switch")
	for name, want := range map[string]os.FileMode{
		"":                                      0o755,
		generationsDir:                          0o755,
		adoptedDir:                              0o700,
		incomingDir:                             0o700,
		recordFile:                              0o644,
		lockFile:                                0o600,
		genName(1):                              0o755,
		genName(1) + "/root":                    0o755,
		genName(1) + "/root/etc/svm":            0o755,
		genName(1) + "/root" + clusterFile:      0o644,
		genName(1) + "/root/etc/svm/relay.key":  0o600,
		genName(1) + "/" + configFile:           0o600,
		genName(1) + "/" + manifestIn:           0o600,
		genName(1) + "/" + bundleIn:             0o600,
		"../host/etc/svm":                       0o755,
		"../host" + unitDir + "svm-fwd.service": 0o644,
	} {
		fi, err := os.Stat(filepath.Join(f.dir, name))
		if err != nil {
			t.Error(err)
		} else if fi.Mode().Perm() != want {
			t.Errorf("%q has mode %04o, want %04o", name, fi.Mode().Perm(), want)
		}
	}
}
