package station

import (
	"errors"
	"strings"
	"testing"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/enroll"
	"golang.org/x/crypto/ssh"
)

func TestEnroll(t *testing.T) {
	s := lock(t, newStation(t))
	one := machine(t, "eds1")
	for i, want := range []bool{true, false} {
		if changed, err := s.Enroll(one, false); err != nil || changed != want {
			t.Fatalf("time %d: %v, %v", i, changed, err)
		}
	}
	other := machine(t, "eds1")
	_, err := s.Enroll(other, false)
	if !errors.Is(err, ErrKnown) {
		t.Fatalf("another key: %v", err)
	}
	wants(t, err, "--replace", "SHA256:")
	if changed, err := s.Enroll(other, true); err != nil || !changed {
		t.Errorf("replaced: %v, %v", changed, err)
	}
	_, err = s.Enroll(machine(t, "eps9"), false)
	wants(t, err, "eps9 isn't in generation 1", "commit")
	copied := machine(t, "eds2")
	copied.HostKey = other.HostKey
	_, err = s.Enroll(copied, false)
	wants(t, err, "eds1's", "ssh-keygen -A")
	if _, err := s.Enroll(machine(t, "eps1"), false); err != nil {
		t.Fatal(err)
	}
	r, err := s.Roster()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Machines) != 2 || r.Machines[0].Age != other.Age || r.Machines[1].Name != "eps1" || r.Machines[1].Age != "" {
		t.Errorf("roster: %+v", r)
	}
	// The same file is another generation now, with secrets sealed to eds1.
	g, made, err := s.Commit("cluster.yaml", farm(1), Change{})
	if err != nil || !made || g.Stamp.Generation != 2 {
		t.Fatalf("%+v, %v, %v", g, made, err)
	}
	raw, sig, err := s.Bundle(2)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(raw, sig, s.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Secrets) != 1 || b.Secrets[0].Node != "eds1" {
		t.Errorf("secrets of %d machines", len(b.Secrets))
	}
}

func TestToken(t *testing.T) {
	s := newStation(t)
	tok, err := s.Token()
	if err != nil {
		t.Fatal(err)
	}
	got, err := enroll.ParseToken(tok.String())
	if err != nil {
		t.Fatal(err)
	}
	if got.StationKey != s.PublicKey() || len(got.Relays) != 2 {
		t.Errorf("token: %+v", got)
	}
	signer, err := s.SSHKey()
	if err != nil {
		t.Fatal(err)
	}
	if Fingerprint(got.StationSSH) != Fingerprint(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) {
		t.Error("the token has another SSH key than the station")
	}
}

func TestSecretsOfADirectorThatReturns(t *testing.T) {
	s := lock(t, newStation(t))
	before, err := s.Secrets(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Commit("cluster.yaml", []byte(strings.ReplaceAll(string(farm(2)), "eds2", "eds3")), Change{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Rollback(1, Change{}); err != nil {
		t.Fatal(err)
	}
	after, err := s.Secrets(3)
	if err != nil {
		t.Fatal(err)
	}
	if !sameSecrets(before["eds2"], after["eds2"]) {
		t.Error("it has other secrets now")
	}
}
