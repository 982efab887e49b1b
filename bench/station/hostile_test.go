package station

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/svm-cluster/svm/bench/farm"
)

// Whoever has everything that is on a real server can change nothing anywhere, and the
// station's own key opens no shell; a changed host key stops a push; no secret lies
// where somebody else can read it.
func TestHostile(t *testing.T) {
	t.Parallel() // most of a push is waiting
	tools(t, "ssh", "sftp")
	r := newTrial(t)
	steps := []struct {
		name string
		do   func(*testing.T, *trial)
	}{
		{"secrets", noSecrets}, {"stolen real server", stolenServer}, {"station's key", stationKeyOnly}, {"host key", changedHostKey},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) { s.do(t, r) })
	}
}

// login tries to have a command done by another machine's sshd.
func (m *Machine) login(ctx context.Context, key, user, at string, words ...string) (string, error) {
	args := append([]string{"-i", key, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"}, words[:len(words)-1]...)
	args = append(args, user+"@"+at)
	if last := words[len(words)-1]; last != "" {
		args = append(args, last)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := m.Command(ctx, "/usr/bin/ssh", args...)
	c.Stdin = strings.NewReader("id\n")
	out, err := c.CombinedOutput()
	return string(out), err
}

// privateKeys are the files on the machine's disk that hold a private key of any kind.
func (m *Machine) privateKeys(t *testing.T) (found []string) {
	m.walk(t, func(path string, _ fs.FileInfo, data []byte) {
		if bytes.Contains(data, []byte("PRIVATE KEY-----")) || bytes.Contains(data, []byte("AGE-SECRET-KEY-")) {
			found = append(found, path)
		}
	})
	return found
}

// walk reads all regular files of the machine's disk.
func (m *Machine) walk(t *testing.T, do func(path string, info fs.FileInfo, data []byte)) {
	t.Helper()
	check(t, filepath.WalkDir(m.Disk, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		do(strings.TrimPrefix(path, m.Disk), info, data)
		return nil
	}))
}

func stolenServer(t *testing.T, r *trial) {
	thief, other := r.EPS[0], r.EPS[1]
	keys := thief.privateKeys(t)
	if len(keys) == 0 {
		t.Error("a real server has not even a host key?")
	}
	before := r.whole("before the theft")
	for _, key := range keys {
		for _, m := range []*Machine{r.EDS[0], r.EDS[1], other, r.EMS} {
			for _, user := range []string{"root", "svm-push"} {
				for _, what := range []string{"hello", "switch 1", "id"} {
					out, err := thief.login(t.Context(), key, user, r.address(m), what)
					if err == nil || !strings.Contains(out, "Permission denied") {
						t.Errorf("with %s of a real server %s@%s does %q: %s, %v", key, user, m.Name(), what, out, err)
					}
				}
			}
		}
	}
	// Over HTTP it is known by its address.
	for _, d := range r.EDS {
		at := net.JoinHostPort(r.address(d), "8485")
		own := r.address(thief)
		for _, c := range []struct {
			from, method, path string
			code               int
			says               string
		}{
			{own, "GET", "/v1/part", 200, `eps1`},
			{own, "GET", "/v1/part?node=eps2&name=eps2", 200, `eps1`},
			{own, "GET", "/v1/part/eps2", 404, ""},
			{own, "GET", "/v1/part/../bundle", 403, ""},
			{own, "GET", "/v1/bundle", 403, ""},
			{own, "GET", "/v1/bundle.minisig", 403, ""},
			{own, "GET", "/v1/status", 403, ""},
			{own, "POST", "/v1/part", 405, ""},
			{own, "PUT", "/v1/bundle", 405, ""},
			{own, "DELETE", "/v1/bundle", 405, ""},
			{own, "GET", "/etc/svm/ha.key", 404, ""},
			{"stranger", "GET", "/v1/part", 403, "isn't an address"},
			{"stranger", "GET", "/v1/hello", 403, "isn't an address"},
		} {
			from := c.from
			if from == "stranger" {
				from = r.ServerNet.Addr(4, 77)
				thief.Addr("eth0", from+"/24")
			}
			code, body, err := fetch(t.Context(), thief, from, c.method, "http://"+at+c.path)
			if c.from == "stranger" {
				thief.AddrDel("eth0", from+"/24")
			}
			if err != nil || code != c.code || !strings.Contains(body, c.says) {
				t.Errorf("%s %s of %s from %s: %d, %.200s %v, want %d", c.method, c.path, d.Name(), c.from, code, body, err, c.code)
			}
			if code == 200 && strings.Contains(body, other.MAC("eth0").String()) {
				t.Errorf("%s gives one real server what is another's: %.300s", c.path, body)
			}
		}
	}
	if after := r.whole("after the theft"); after != before {
		t.Errorf("a thief moved machines from %s to %s", before, after)
	}
}

func fetch(ctx context.Context, m *Machine, from, method, url string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return m.DialFrom(ctx, network, &net.TCPAddr{IP: net.ParseIP(from)}, addr)
		}}}
	for {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return 0, "", err
		}
		res, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusTooManyRequests {
			return res.StatusCode, string(b), err
		}
		select { // its rate is bounded
		case <-ctx.Done():
			return res.StatusCode, "", ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// stationKeyOnly uses the station's own SSH key for what it isn't for.
func stationKeyOnly(t *testing.T, r *trial) {
	const key = StateDir + "/ssh/id_ed25519"
	at := r.address(r.EDS[0])
	before := r.whole("before")
	if out, err := r.EMS.login(t.Context(), key, "root", at, "hello"); err != nil || !strings.Contains(out, `"ok":true`) {
		t.Fatalf("the station's key opens nothing at all: %s, %v", out, err)
	}
	for _, words := range [][]string{
		{""}, {"-tt", ""}, {"id"}, {"cat /etc/shadow"}, {"/bin/sh"}, {"hello; id"}, {"hello\nid"}, {"$(id)"}, {"sftp; id"},
		{"scp -f /etc/shadow"}, {"-s", "shell"}, {"relay switch 1 eps1;id"}, {"relay hello 0 ../../etc/passwd"}, {"stage 999999"},
	} {
		out, err := r.EMS.login(t.Context(), key, "root", at, words...)
		// A refusal is an answer of the receiver; nothing else may come.
		refused := err != nil || strings.Contains(out, `{"ok":false,`)
		if !refused || strings.Contains(out, "uid=") || strings.Contains(out, "root:") {
			t.Errorf("the station's key lets it do %q: %s", words, out)
		}
	}
	// Forwarding: through the director to a real server's web, and a listener there.
	if out, err := r.EMS.login(t.Context(), key, "root", at, "-W", r.address(r.EPS[0])+":80", ""); err == nil || strings.Contains(out, "HTTP/") {
		t.Errorf("the station's key forwards: %s", out)
	}
	if out, err := r.EMS.login(t.Context(), key, "root", at, "-N", "-o", "ExitOnForwardFailure=yes", "-R", "9999:127.0.0.1:22", ""); err == nil {
		t.Errorf("the station's key listens on a director: %s", out)
	}
	// SFTP writes uploads and nothing else.
	check(t, r.EMS.Write("/root/x", "x", 0o600))
	for _, batch := range []string{
		"get /etc/svm/ha.key", "get /etc/shadow", "get ../state.json", "ls /etc", "ls ..", "put /root/x /etc/svm/x", "put /root/x ../x",
		"put /root/x x", "put /root/x ../../../root/.ssh/authorized_keys", "rm bundle-1.json", "mkdir x", "ln -s /etc/shadow bundle-99.json",
		"rename bundle-1.json bundle-2.json", "chmod 777 bundle-1.json", "put /root/x part-7.json",
	} {
		check(t, r.EMS.Write("/root/batch", batch+"\n", 0o600))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		c := r.EMS.Command(ctx, "/usr/bin/sftp", "-b", "/root/batch", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "root@"+at)
		out, err := c.CombinedOutput()
		cancel()
		if err == nil {
			t.Errorf("sftp does %q: %s", batch, out)
		}
		if strings.Contains(string(out), "Permission denied (publickey") {
			t.Errorf("sftp was not let in: %s", out)
		}
	}
	if after := r.whole("after"); after != before {
		t.Errorf("machines moved from %s to %s", before, after)
	}
}

// changedHostKey installs another host key on a director.
func changedHostKey(t *testing.T, r *trial) {
	d := r.EDS[1]
	before := r.whole("before the key")
	const path = "/etc/ssh/ssh_host_ed25519_key"
	fingerprint := func() string {
		out, err := exec.Command("ssh-keygen", "-lf", d.Path(path)).Output()
		check(t, err)
		return strings.Fields(string(out))[1]
	}
	was := fingerprint()
	key, err := d.read(path)
	check(t, err)
	pub, err := d.read(path + ".pub")
	check(t, err)
	check(t, os.Remove(d.Path(path)))
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d.Path(path)).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	check(t, d.restartSSHD(t.Context()))
	for _, policy := range [][]string{nil, {"--skip-unreachable"}, {"--trust-new"}} {
		err = r.push(r.next(), policy...).wait()
		if err == nil {
			t.Fatalf("a push with %q went to a machine with another host key", policy)
		}
		for _, want := range []string{"HAS CHANGED", was, fingerprint(), "svm-ems enroll", d.Name()} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("with %q the refusal does not say %q: %v", policy, want, err)
			}
		}
	}
	if after := r.whole("refused"); after != before {
		t.Errorf("machines moved from %s to %s", before, after)
	}
	check(t, d.Write(path, key, 0o600))
	check(t, d.Write(path+".pub", pub, 0o644))
	check(t, d.restartSSHD(t.Context()))
	r.mended("the right host key again")
}

// restartSSHD has sshd read its host key again.
func (m *Machine) restartSSHD(ctx context.Context) error {
	m.sshd.Kill()
	m.sshd = m.Command(context.WithoutCancel(ctx), "/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config")
	if err := m.sshd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return farm.Await(ctx, func() bool {
		c, err := m.Dial(ctx, "tcp", "127.0.0.1:22")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// noSecrets looks for the farm's secrets in everything that others can see, during
// pushes and after them.
func noSecrets(t *testing.T, r *trial) {
	const phrase = "plover-tangent-velvet-8823"
	check(t, r.EMS.Write("/root/phrase", phrase+"\n", 0o600))
	secrets := r.secrets(t)
	secrets["the passphrase"] = []string{phrase}
	t.Logf("%d secrets", len(secrets))
	find := func(where string, data []byte) {
		for name, forms := range secrets {
			for _, s := range forms {
				if bytes.Contains(data, []byte(s)) {
					t.Errorf("%s is in %s", name, where)
				}
			}
		}
	}
	// Processes of all machines, again and again during a push, an image and a backup.
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	seen := map[string]bool{}
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, m := range append(r.Machines(), r.EMS) {
				for _, p := range m.Processes() {
					if text := p.Args + "\n" + p.Env; !seen[text] {
						seen[text] = true
						find(fmt.Sprintf("arguments or environment of %s: %s", m.Name(), p.Args), []byte(text))
					}
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	said := ""
	r.mended("watched")
	for _, args := range [][]string{
		{"image", "write", "--passphrase-file", "/root/phrase", "/root/floppy.img"},
		{"image", "write", "/root/plain.img"},
		{"backup", "--passphrase-file", "/root/phrase", "/root/backup"},
		{"status"}, {"history"}, {"plan"}, {"token"},
	} {
		out, err := r.Ems(t.Context(), args...)
		if err != nil {
			t.Error(err)
		}
		said += out
	}
	stop()
	wg.Wait()
	if len(seen) < 10 {
		t.Errorf("only %d processes were seen", len(seen))
	}
	find("what svm-ems says", []byte(said))
	for _, m := range append(r.Machines(), r.EMS) {
		find("the log of "+m.Name(), []byte(m.Log()))
	}
	// Media are opened on any machine that finds them.
	for _, path := range []string{"/root/floppy.img", "/root/plain.img", "/root/backup"} {
		b, err := os.ReadFile(r.EMS.Path(path))
		check(t, err)
		find(path, b)
	}
	places := 0
	for _, m := range append(r.Machines(), r.EMS) {
		m.walk(t, func(path string, info fs.FileInfo, data []byte) {
			for name, forms := range secrets {
				for _, s := range forms {
					if !bytes.Contains(data, []byte(s)) {
						continue
					}
					places++
					if info.Mode()&0o077 != 0 {
						t.Errorf("%s is in %s of %s, mode %v", name, path, m.Name(), info.Mode())
					}
					if strings.HasPrefix(m.Name(), "eps") && !strings.HasPrefix(name, m.Name()) {
						t.Errorf("%s is on real server %s, in %s", name, m.Name(), path)
					}
				}
			}
		})
	}
	if places < len(secrets) {
		t.Errorf("the secrets were found in %d places only: is this test looking for the right things?", places)
	}
}

// secrets are the farm's, in the forms in which they would be written.
func (r *trial) secrets(t *testing.T) map[string][]string {
	all := map[string][]string{}
	raw := func(name string, b []byte) {
		all[name] = append(all[name], string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
			strings.TrimRight(base64.StdEncoding.EncodeToString(b), "="), strings.TrimRight(base64.URLEncoding.EncodeToString(b), "="))
	}
	for _, m := range append(r.Machines(), r.EMS) {
		m.walk(t, func(path string, _ fs.FileInfo, data []byte) {
			name := m.Name() + ":" + path
			switch base := filepath.Base(path); {
			case strings.HasPrefix(path, "/run/") || strings.Contains(path, "generations/"):
			case base == "ha.key" && len(all["the pair's key"]) == 0:
				b, err := hex.DecodeString(strings.TrimSpace(string(data)))
				check(t, err)
				raw("the pair's key", b)
			case base == "station.key":
				lines := strings.Split(strings.TrimSpace(string(data)), "\n")
				all[name] = []string{lines[len(lines)-1]}
			case bytes.Contains(data, []byte("AGE-SECRET-KEY-")):
				at := bytes.Index(data, []byte("AGE-SECRET-KEY-"))
				all[name] = []string{strings.Fields(string(data[at:]))[0]}
			case bytes.Contains(data, []byte("PRIVATE KEY-----")):
				key, err := ssh.ParseRawPrivateKey(data)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if k, ok := key.(*ed25519.PrivateKey); ok {
					raw(name, k.Seed())
					body := strings.Split(strings.TrimSpace(string(data)), "\n")
					all[name] = append(all[name], body[len(body)-2])
				}
			}
		})
	}
	if len(all) < 8 { // pair, station, its SSH key, two relay keys, two identities, host keys
		t.Errorf("only %d secrets: %v", len(all), all)
	}
	return all
}
