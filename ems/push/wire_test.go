package push_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/sftp"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/push"
	"github.com/svm-cluster/svm/ems/push/pushtest"
)

// hostile commands, as SSH_ORIGINAL_COMMAND.
var hostile = []string{
	"", " ", "\n", "\x00", "sh", "bash -i", "hello;id", "hello; id", "hello\nid", "hello ", " hello", "hello  ", "HELLO", "hello 1", "status 1",
	"stage", "stage ", "stage x", "stage 0", "stage -1", "stage +1", "stage 01", "stage 1 ", "stage  1", "stage 1 2", "stage 1;reboot",
	"stage $(id)", "stage `id`", "stage 1\n", "stage 1\r", "stage 1\x00", "stage 99999999999999999999", "stage 1e3", "stage 0x1", "stage ٣", "switch ../../etc",
	"confirm", "rollback", "relay", "relay stage", "relay stage x", "relay relay 1", "relay sh 1", "relay stage 1 $(id)", "relay stage 1 eps1;id", "relay stage 1 ../eps1",
	"relay stage 1 -oProxyCommand=id", "relay stage 1 EPS1", "relay stage 1 eps1 ", "relay stage 0", "relay stage 1 eps1\neps2", "relay hello",
	"sftp ", "sftp -R", "/usr/lib/openssh/sftp-server -d /", "internal-sftp -d /etc", "scp -t /etc/passwd", "rsync --server", "relay stage 1 " + strings.Repeat("a", 64),
	"hello" + strings.Repeat(" ", 1<<20), strings.Repeat("A", 1<<20), "relay stage 1" + strings.Repeat(" eps1", 1<<16), "stage " + strings.Repeat("9", 1<<20),
	"\x1b]0;owned\x07", "%s%s%n", "{\"verb\":\"stage\"}", "git-upload-pack '/x'", "exit", "stage\t1", "stage 1",
}

func TestHostileCommands(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 1})
	for _, m := range []*pushtest.Machine{f.Machines["eds1"], f.Machines["eps1"]} {
		for _, command := range hostile {
			var out bytes.Buffer
			err := m.Receiver.Serve(t.Context(), command, strings.NewReader("id\n"), &out)
			if err == nil {
				t.Errorf("%.60q was obeyed", command)
			}
			var a push.Answer
			if jerr := json.Unmarshal(out.Bytes(), &a); jerr != nil || a.OK || a.Error == "" || out.Len() > 4096 || strings.Contains(out.String(), "uid=") {
				t.Errorf("%.60q: %v, answer %.200q", command, jerr, out.String())
			}
		}
		if s := state(t, m); s.Current != nil || s.Staged != nil {
			t.Errorf("%+v", s)
		}
	}
}

func TestRequests(t *testing.T) {
	for _, r := range []push.Request{
		{Verb: push.Hello}, {Verb: push.Status}, {Verb: push.Stage, Generation: 7}, {Verb: push.Rollback, Generation: 1},
		{Verb: push.Relay, Sub: push.Stage, Generation: 7, Nodes: []string{"eps1", "eps-2"}}, {Verb: push.Relay, Sub: push.Status},
		{Verb: push.Relay, Sub: push.Confirm, Generation: 999999999999999999},
	} {
		got, err := push.ParseRequest(r.String())
		if err != nil || fmt.Sprint(got) != fmt.Sprint(r) {
			t.Errorf("%q became %+v: %v", r, got, err)
		}
	}
}

// Whatever is accepted is written back to the same line, so nothing is overlooked in it.
func FuzzParseRequest(f *testing.F) {
	for _, h := range hostile {
		if len(h) < 1000 {
			f.Add(h)
		}
	}
	f.Add("relay stage 7 eps1 eps2")
	f.Fuzz(func(t *testing.T, line string) {
		if r, err := push.ParseRequest(line); err == nil && r.String() != line {
			t.Errorf("%q was taken for %q", line, r)
		}
	})
}

// session starts an SFTP session with a machine's receiver, as its sshd would.
func session(t *testing.T, m *pushtest.Machine) *sftp.Client {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Receiver.Serve(context.Background(), "sftp", there, there)
		there.Close()
	}()
	c, err := sftp.NewClientPipe(here, here)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); here.Close(); <-done })
	return c
}

func TestHostileUploads(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 1})
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for node, good := range map[string]string{"eds1": "bundle-7.json", "eps1": "part-7.json"} {
		m := f.Machines[node]
		c := session(t, m)
		for _, name := range []string{
			"", ".", "..", "../x", "../state.json", "/etc/passwd", "/etc/cron.d/x", "x", "a/b", good + "/x", "/" + good + "/../../x", "sub/" + good,
			"bundle-0.json", "bundle-07.json", "bundle--7.json", "bundle-7.json.sh", "bundle-7.json\x00.sh", "bundle-7.json\n", "BUNDLE-7.json", "bundle-7.json.minisig.minisig",
			"part-x.json", ".ssh/authorized_keys", "part-99999999999999999999.json", strings.Repeat("a", 10000), "bundle-٣.json", map[bool]string{true: "part-7.json", false: "bundle-7.json"}[node == "eds1"],
		} {
			for _, flags := range []int{os.O_WRONLY | os.O_CREATE, os.O_RDWR | os.O_CREATE | os.O_TRUNC, os.O_RDONLY, os.O_WRONLY | os.O_APPEND} {
				if file, err := c.OpenFile(name, flags); err == nil {
					t.Errorf("%s: %.40q was opened with %#x", node, name, flags)
					file.Close()
				}
			}
		}
		file, err := c.OpenFile(good, os.O_WRONLY|os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt([]byte("hole"), 1); err == nil {
			t.Errorf("%s: a hole was written", node)
		}
		if _, err := file.WriteAt([]byte("x"), -1); err == nil {
			t.Errorf("%s: written before the beginning", node)
		}
		if _, err := file.WriteAt([]byte("x"), 1<<62); err == nil {
			t.Errorf("%s: written far behind the end", node)
		}
		if _, err := file.Write([]byte("{}")); err != nil {
			t.Error(err)
		}
		// Nothing else is to be had.
		for what, err := range map[string]error{
			"read":     second(c.Open(good)),
			"list":     second(c.ReadDir(".")),
			"list /":   second(c.ReadDir("/")),
			"remove":   c.Remove(good),
			"rename":   c.Rename(good, "part-8.json"),
			"posix":    c.PosixRename(good, "bundle-8.json"),
			"link":     c.Link(good, "bundle-8.json"),
			"symlink":  c.Symlink(secret, "bundle-8.json"),
			"readlink": second(c.ReadLink(good)),
			"mkdir":    c.Mkdir("bundle-8.json"),
			"chmod":    c.Chmod(good, 0o777),
			"chown":    c.Chown(good, 0, 0),
			"truncate": c.Truncate(good, 1<<40),
			"stat /":   second(c.Stat("/")),
			"stat ..":  second(c.Stat("../state.json")),
			"statvfs":  second(c.StatVFS("/")),
		} {
			if err == nil {
				t.Errorf("%s: %s was allowed", node, what)
			}
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		if fi, err := os.Stat(filepath.Join(m.Incoming(), good)); err != nil || fi.Mode().Perm() != 0o600 || fi.Size() != 2 {
			t.Errorf("%s: %v, %v", node, fi, err)
		}
		// A link or a pipe that lies there is not followed or waited for.
		for i, make := range []func(string) error{
			func(p string) error { return os.Symlink(secret, p) },
			func(p string) error { return os.Symlink(good, p) },
			func(p string) error { return os.Mkdir(p, 0o700) },
		} {
			name := strings.Replace(good, "7", "8", 1)
			path := filepath.Join(m.Incoming(), name)
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			if file, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC); err == nil {
				t.Errorf("%s: %d: opened", node, i)
				file.Close()
			}
			if err := m.Receiver.Serve(t.Context(), "stage 8", strings.NewReader(""), io.Discard); err == nil {
				t.Errorf("%s: %d: staged", node, i)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if b, _ := os.ReadFile(secret); string(b) != "s3cret" {
		t.Error("a file outside was written")
	}
}

func second[T any](_ T, err error) error { return err }

// Uploads are bounded in size, in number, and in how many are open.
func TestUploadBounds(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 1})
	m := f.Machines["eds1"]
	c := session(t, m)
	block := make([]byte, 1<<20)
	for name, limit := range map[string]int{"bundle-1.json": bundle.MaxBundle, "bundle-1.json.minisig": 4 << 10} {
		file, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for err == nil && n < 2*limit {
			var k int
			k, err = file.Write(block[:min(len(block), limit)])
			n += k
		}
		file.Close()
		if fi, _ := os.Stat(filepath.Join(m.Incoming(), name)); err == nil || fi.Size() > int64(limit) {
			t.Errorf("%s: %d bytes were taken: %v", name, fi.Size(), err)
		}
	}
	for g := range 50 {
		file, err := c.OpenFile(fmt.Sprintf("bundle-%d.json", g+2), os.O_WRONLY|os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	if all, _ := os.ReadDir(m.Incoming()); len(all) > 4 {
		t.Errorf("%d uploads stay", len(all))
	}
	var files []*sftp.File
	for range 10 {
		file, err := c.OpenFile("bundle-60.json", os.O_WRONLY|os.O_CREATE)
		if err != nil {
			break
		}
		files = append(files, file)
	}
	if len(files) > 4 {
		t.Errorf("%d files were open at a time", len(files))
	}
	for _, file := range files {
		file.Close()
	}
}

// An upload that broke off is continued; one with another beginning starts over.
func TestResume(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 1})
	plan := f.Plan(1, f.YAML(1, "one"))
	half := plan.Bundle[:len(plan.Bundle)/2]
	spoilt := bytes.Repeat([]byte("x"), len(half))
	longer := append(bytes.Clone(plan.Bundle), "more"...)
	for name, left := range map[string][]byte{"eds1": half, "eds2": spoilt} {
		if err := os.WriteFile(filepath.Join(f.Machines[name].Incoming(), "bundle-1.json"), left, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(f.Machines["eps1"].Incoming(), "part-1.json"), longer, 0o600); err != nil {
		t.Fatal(err)
	}
	rec := &recorder{}
	if _, err := push.Run(t.Context(), plan, rec); err != nil {
		t.Fatal(err)
	}
	on(t, f, 1)
	began := int64(-1)
	for _, e := range rec.all {
		if e.Node == "eds1" && e.Step == push.Uploading && e.Done > int64(len(plan.Signature)) && began < 0 {
			began = e.Done - int64(len(plan.Signature))
		}
	}
	if began != int64(len(half)) {
		t.Errorf("eds1's upload went on at byte %d, %d were there", began, len(half))
	}
}

// Damaged and foreign uploads are refused with the reason, and nothing changes.
func TestBadUploads(t *testing.T) {
	f := pushtest.New(t, pushtest.Config{Servers: 2})
	other := pushtest.New(t, pushtest.Config{Servers: 2})
	first(t, f, 2)
	good, foreign := f.Plan(2, f.YAML(2, "two")), other.Plan(2, f.YAML(2, "two"))
	put := func(m *pushtest.Machine, name string, data []byte) {
		if err := os.WriteFile(filepath.Join(m.Incoming(), name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := bundle.Open(good.Bundle, good.Signature, f.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	part2, err := parts.Part("eps2")
	if err != nil {
		t.Fatal(err)
	}
	own, err := parts.Part("eps1")
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good.Bundle)
	flipped[len(flipped)/2] ^= 1
	eds, eps := f.Machines["eds1"], f.Machines["eps1"]
	for name, c := range map[string]struct {
		m        *pushtest.Machine
		raw, sig []byte
		command  string
	}{
		"empty":          {eds, nil, nil, "stage 2"},
		"no signature":   {eds, good.Bundle, nil, "stage 2"},
		"flipped":        {eds, flipped, good.Signature, "stage 2"},
		"cut off":        {eds, good.Bundle[:100], good.Signature, "stage 2"},
		"foreign key":    {eds, foreign.Bundle, foreign.Signature, "stage 2"},
		"other number":   {eds, good.Bundle, good.Signature, "stage 3"},
		"old":            {eds, good.Bundle, good.Signature, "stage 1"},
		"too long":       {eds, make([]byte, bundle.MaxBundle+1), good.Signature, "stage 2"},
		"another's part": {eps, part2, nil, "stage 2"},
		"part, cut off":  {eps, own[:len(own)-10], nil, "stage 2"},
		"part, number":   {eps, own, nil, "stage 3"},
		"bundle as part": {eps, good.Bundle, nil, "stage 2"},
		"not staged":     {eps, own, nil, "switch 2"},
		"relay by eps":   {eps, own, nil, "relay stage 2 eps2"},
		"confirm":        {eps, own, nil, "confirm 2"},
	} {
		g := c.command[len(c.command)-1:]
		if c.m == eds {
			put(eds, "bundle-"+g+".json", c.raw)
			put(eds, "bundle-"+g+".json.minisig", c.sig)
		} else {
			put(eps, "part-"+g+".json", c.raw)
		}
		var out bytes.Buffer
		err := c.m.Receiver.Serve(t.Context(), c.command, strings.NewReader(""), &out)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		t.Logf("%s: %v", name, err)
	}
	on(t, f, 1)
}

// No secret is in what is logged, said, or uploaded in the clear.
func TestNoSecrets(t *testing.T) {
	var log lockedBuffer
	f := pushtest.New(t, pushtest.Config{Servers: 1, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	f.Machines["eds2"].Before = func(v push.Verb, _ uint64) error {
		if v == push.Switch {
			return errors.New("no")
		}
		return nil
	}
	rec := &recorder{}
	res, err := push.Run(t.Context(), f.Plan(1, f.YAML(1, "one")), rec)
	all, _ := json.Marshal(struct {
		R push.Result
		E []push.Event
		S string
	}{res, rec.all, fmt.Sprint(err)})
	text := log.String() + string(all) + string(f.Plan(1, f.YAML(1, "one")).Bundle)
	for name, s := range f.Secrets {
		lines := strings.Split(string(s.RelayKey), "\n")
		for _, secret := range []string{strings.TrimSpace(string(s.HAKey)), lines[2]} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: a secret of its is in the log, the answers or the bundle", name)
			}
		}
		if strings.Contains(text, string(f.Machines[name].Receiver.Identity)) {
			t.Errorf("%s: its identity is in the log or the answers", name)
		}
	}
	if log.String() == "" {
		t.Error("nothing was logged")
	}
}
