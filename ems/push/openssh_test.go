package push_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/render"
)

// receiverDir names the environment variable that makes the test binary a receiver, as
// sshd's forced command.
const receiverDir = "SVM_PUSH_TEST_RECEIVER"

type idle struct{}

func (idle) Check(context.Context, *render.Manifest, string) error              { return nil }
func (idle) Activate(context.Context, *render.Manifest, *render.Manifest) error { return nil }
func (idle) Settle(context.Context, *render.Manifest, *render.Manifest) error   { return nil }

// beReceiver is what `svm-rs receive --direct` does.
func beReceiver(dir string) int {
	store, err := machine.Open(machine.Config{Root: dir, Dir: filepath.Join(dir, "store"), Activator: idle{}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	r := &push.Receiver{
		Store: store, Kind: render.RealServer, Node: "eps1", Incoming: filepath.Join(dir, "store/incoming"),
		Version: "v1", Log: slog.New(slog.DiscardHandler),
	}
	if err := r.Serve(context.Background(), os.Getenv("SSH_ORIGINAL_COMMAND"), os.Stdin, os.Stdout); err != nil {
		return 1
	}
	return 0
}

// The client and the receiver find each other through OpenSSH's sshd and a forced command.
func TestOpenSSH(t *testing.T) {
	sshd, err := exec.LookPath("sshd")
	if err == nil && os.Getuid() != 0 {
		err = fmt.Errorf("sshd needs root to log users in")
	}
	if err != nil {
		if os.Getenv("SVM_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host, hostPEM := newKey(t)
	key, _ := newKey(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("host", string(hostPEM))
	write("keys", fmt.Sprintf("restrict,command=\"env %s=%s %s\" %s", receiverDir, dir, exe, ssh.MarshalAuthorizedKey(key.PublicKey())))
	write("conf", fmt.Sprintf("HostKey %[1]s/host\nAuthorizedKeysFile %[1]s/keys\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n", dir))
	switch err := os.Mkdir("/run/sshd", 0o755); { // sshd insists on it
	case err == nil:
		t.Cleanup(func() { _ = os.Remove("/run/sshd") })
	case !os.IsExist(err):
		t.Fatal(err)
	}
	hosts, err := push.ParseHosts([]byte("eps1 " + string(ssh.MarshalAuthorizedKey(host.PublicKey()))))
	if err != nil {
		t.Fatal(err)
	}
	conf := push.SSH{Key: key, Hosts: hosts, Timeout: time.Minute, Dial: func(context.Context, string, string) (net.Conn, error) {
		return inetd(t, sshd, "-i", "-e", "-f", filepath.Join(dir, "conf"))
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := conf.Connect(ctx, push.Target{Node: "eps1", Addr: "10.0.0.1:22", User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.Do(ctx, push.Request{Verb: push.Hello}, nil)
	if err != nil || !a.OK || a.Report.Node != "eps1" || a.Report.Phase != machine.Bare {
		t.Errorf("hello: %+v, %v", a, err)
	}
	for range 2 { // the second one finds it there
		if err := c.Upload(ctx, "part-1.json", []byte(strings.Repeat("x", 300_000)), false, nil); err != nil {
			t.Error(err)
		}
	}
	if err := c.Upload(ctx, "../x", []byte("x"), false, nil); err == nil || push.CauseOf(err) != push.Refused {
		t.Errorf("upload of ../x: %v", err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "store/incoming/part-1.json")); err != nil || fi.Size() != 300_000 {
		t.Errorf("%v, %v", fi, err)
	}
	if a, err = c.Do(ctx, push.Request{Verb: push.Stage, Generation: 1}, nil); err != nil || a.OK || a.Cause != push.Damaged {
		t.Errorf("stage: %+v, %v", a, err)
	}
	if a, err = c.Do(ctx, push.Request{Verb: "sh"}, nil); err != nil || a.OK || !strings.Contains(a.Error, "no shell") {
		t.Errorf("sh: %+v, %v", a, err)
	}
}

// inetd starts a program with one end of a socket as its standard input and output.
func inetd(t *testing.T, program string, args ...string) (net.Conn, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	said := &lockedBuffer{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, io.Writer(said)
	if err := cmd.Start(); err != nil {
		c.Close()
		return nil, err
	}
	t.Cleanup(func() {
		c.Close()
		_ = cmd.Wait() // it ends with its connection
		if t.Failed() {
			t.Log(said.String())
		}
	})
	return c, nil
}

func newKey(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}
