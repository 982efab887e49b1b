package station

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/svm-cluster/svm/ems/enroll"
	"golang.org/x/crypto/ssh"
)

// asOperator makes this test binary do one thing to a station, and end.
const asOperator = "SVM_STATION_TEST_DO"

func TestMain(m *testing.M) {
	if verb := os.Getenv(asOperator); verb != "" {
		// On one thread, so that strace can count what it does.
		runtime.LockOSThread()
		if err := operate(verb, os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// farm is a cluster file; weight tells one from another.
func farm(weight int) []byte {
	return fmt.Appendf(nil, `# made by hand
cluster: shop
networks:
  client: {cidr: 192.168.1.0/24, gateway: 192.168.1.1}
  server: {cidr: 192.168.2.0/24, gateway: 192.168.2.254}
station: {address: 192.168.2.5}
ha: {vrid: 51, key_file: /etc/svm/ha.key}
directors:
  - {name: eds1, priority: 200, client: {device: eth0, address: 192.168.1.2}, server: {device: eth1, address: 192.168.2.2}}
  - {name: eds2, priority: 100, client: {device: eth0, address: 192.168.1.3}, server: {device: eth1, address: 192.168.2.3}}
realservers:
  - {name: eps1, address: 192.168.2.11, device: eth0}
  - {name: eps2, address: 192.168.2.12, device: eth0}
services:
  - name: web
    vip: 192.168.1.100
    ports: 80
    servers: [{name: eps1, weight: %d}, {name: eps2, weight: 1}]
`, weight)
}

func initConfig(dir string) InitConfig {
	return InitConfig{Dir: dir, Name: "cluster.yaml", YAML: farm(1), User: "alice", Change: Change{Author: "alice@ems", Note: "the first"}}
}

// newStation makes one with generation 1, unlocked.
func newStation(t *testing.T) *Station {
	t.Helper()
	s, err := Init(t.Context(), initConfig(filepath.Join(t.TempDir(), "ems")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lock locks s until the test ends.
func lock(t *testing.T, s *Station) *Station {
	t.Helper()
	l, err := s.Lock(t.Context(), "alice", "svm-ems test", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Release(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func commit(t *testing.T, s *Station, weight int) *Generation {
	t.Helper()
	g, _, err := s.Commit("cluster.yaml", farm(weight), Change{Author: "alice@ems", Note: fmt.Sprint("weight ", weight)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// machine makes a machine's line of enrolment, with keys of its own.
func machine(t *testing.T, name string) enroll.Line {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return enroll.Line{Name: name, HostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host))), Age: id.Recipient().String()}
}

func wants(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one about %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q doesn't speak of %q", err, w)
		}
	}
}

// operate is what another process does in these tests.
func operate(verb, dir string, args []string) error {
	ctx := context.Background()
	if verb == "init" {
		_, err := Init(ctx, initConfig(dir))
		return err
	}
	s, err := Open(dir)
	if err != nil {
		return err
	}
	l, err := s.Lock(ctx, "bob", "svm-ems "+verb, 0)
	if err != nil {
		return err
	}
	c := Change{Author: "bob@ems", Note: verb}
	switch verb {
	case "commit":
		_, _, err = s.Commit("cluster.yaml", farm(2), c)
	case "director": // a new one, so that a key is made for it
		_, _, err = s.Commit("cluster.yaml", []byte(strings.ReplaceAll(string(farm(2)), "eds2", "eds3")), c)
	case "rollback":
		_, _, err = s.Rollback(1, c)
	case "enroll":
		var m enroll.Line
		if m, err = enroll.ParseLine(args[0]); err == nil {
			_, err = s.Enroll(m, false)
		}
	case "journal":
		err = s.WriteJournal(&Journal{Generation: 1, Outcome: Delivered})
	case "hold": // until it is killed
		fmt.Println("held")
		select {}
	}
	if err != nil {
		return err
	}
	return l.Release()
}
