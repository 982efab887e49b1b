package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// The crash tests run this test binary again under strace, which kills it at the n-th
// call of a system call, or has that call fail. strace counts by thread: so all of the
// child's work is done on its first one. A package's variables are set there.
var child = asChild()

const childEnv, childBase = "SVM_MACHINE_CHILD", "SVM_MACHINE_BASE"

func asChild() string {
	do := os.Getenv(childEnv)
	if do != "" {
		runtime.LockOSThread()
	}
	return do
}

func TestMain(m *testing.M) {
	if child != "" {
		os.Exit(runChild())
	}
	os.Exit(m.Run())
}

// runChild does what the environment says: "stage 2,switch 2".
func runChild() int {
	base := os.Getenv(childBase)
	f := &farm{base: base, root: filepath.Join(base, "host"), dir: filepath.Join(base, "store")}
	f.act = &fake{f: f}
	act := Activator(obeyed{f.act})
	if verb, g, hang := strings.Cut(child, " "); hang && verb == "hang" {
		act, child = hanging{f.act}, "switch "+g
	}
	s, err := Open(Config{Root: f.root, Dir: f.dir, Activator: act})
	for do := range strings.SplitSeq(child, ",") {
		if err != nil {
			break
		}
		f.s = s
		var verb string
		var g uint64
		if _, err = fmt.Sscanf(do, "%s %d", &verb, &g); err == nil {
			err = f.do(verb, g)
		}
	}
	for _, w := range f.act.wrong {
		err = errors.Join(err, errors.New(w))
	}
	if err != nil {
		fmt.Println(err)
		return 3
	}
	return 0
}

// obeyed notes in a file what daemons obey, beyond the life of a process.
type obeyed struct{ *fake }

func (o obeyed) Activate(ctx context.Context, old, now *render.Manifest) error {
	if err := o.fake.Activate(ctx, old, now); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(o.f.base, "obeyed"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Append(nil, gen(now)), 0) // pwrite: none of calls
	return errors.Join(err, f.Close())
}

// hanging says that its activation began, and waits to be killed.
type hanging struct{ *fake }

func (hanging) Activate(context.Context, *render.Manifest, *render.Manifest) error {
	fmt.Println()
	time.Sleep(time.Hour)
	return nil
}

// scenario is what is interrupted.
type scenario struct {
	name  string
	start func(t testing.TB, f *farm)
	do    string
	bare  map[string]string // what a bare machine has
	ends  []uint64          // generations that it may be on then, 0 is bare
	next  uint64            // what is pushed then
}

const operators = "0640 the operator's own\n"

func scenarios() []scenario {
	first := func(t testing.TB, f *farm) { f.push(t, 1) }
	hand := func(t testing.TB, f *farm, path string) {
		path = filepath.Join(f.root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(operators[5:]), 0o640), os.Chmod(path, 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	mine := map[string]string{clusterFile: operators, "/etc/systemd/system/svm-fwd.service": operators}
	return []scenario{
		{"update", first, "stage 2,switch 2,confirm 2", nil, []uint64{1, 2}, 4},
		{"rollback", func(t testing.TB, f *farm) { first(t, f); f.step(t, 2, "stage") },
			"switch 2,rollback 2", nil, []uint64{1, 2}, 4},
		{"first", func(t testing.TB, f *farm) {
			for p := range mine {
				hand(t, f, p)
			}
			f.step(t, 1, "stage")
		}, "switch 1,rollback 1", mine, []uint64{0, 1}, 3},
		{"repair", func(t testing.TB, f *farm) {
			first(t, f)
			for p := range mine {
				hand(t, f, p) // one through the link, one over the copy
			}
			if err := os.Remove(filepath.Join(f.root, "/etc/svm/odd")); err != nil {
				t.Fatal(err)
			}
			hand(t, f, "/etc/svm/odd") // over the link
		}, "repair 0", nil, []uint64{1}, 3},
	}
}

// calls is all that changes files.
const calls = "openat,write,fsync,mkdirat,renameat,renameat2,symlinkat,unlinkat,fchmod,fchmodat,fchown,fchownat,utimensat"

// point is one system call of a scenario.
type point struct {
	call string
	n    int // of all of that name, from 1
	line string
}

// points runs a scenario undisturbed and lists its calls that change files.
func points(t *testing.T, sc scenario) []point {
	t.Helper()
	f := farmIn(t, shm(t))
	sc.start(t, f)
	out := filepath.Join(f.base, "trace")
	if b, err := underStrace(f, sc, "-y", "-o", out, "-e", "trace="+calls); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var all []point
	seen := map[string]int{}
	main := ""
	form := regexp.MustCompile(`^(\d+) +(\w+)\((.*)`)
	for line := range strings.SplitSeq(string(b), "\n") {
		m := form.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if main == "" {
			main = m[1]
		}
		if m[1] != main {
			continue
		}
		seen[m[2]]++
		if !strings.Contains(m[3], f.base) || m[2] == "openat" && !strings.Contains(m[3], "O_CREAT") {
			continue // of the runtime, or only reading
		}
		all = append(all, point{m[2], seen[m[2]], line})
	}
	return all
}

func underStrace(f *farm, sc scenario, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	args = append([]string{"-f", "-qq"}, args...) // with --seccomp-bpf, strace 6.1 sends no signal
	cmd := exec.CommandContext(ctx, "strace", append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), childEnv+"="+sc.do, childBase+"="+f.base, "GOMAXPROCS=1", "GOGC=off")
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// shm is a directory in memory where there is one: the tests sync a lot.
func shm(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "svm-machine-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// names tells whether a call changes what is found where; those that make or fill a
// temporary file don't.
func names(call string) bool {
	switch call {
	case "mkdirat", "renameat", "renameat2", "symlinkat", "unlinkat":
		return true
	}
	return false
}

// thorough has the crash tests take every point; it takes a minute or two.
func thorough() bool { return os.Getenv("SVM_CRASH") == "all" }

func needStrace(t *testing.T) {
	t.Helper()
	b, err := exec.Command("strace", "-f", "-qq", "-e", "trace=openat", "true").CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("SVM_REQUIRE") == "1":
		t.Fatalf("strace doesn't work here: %v: %s", err, b)
	default:
		t.Skipf("strace doesn't work here: %v: %s", err, b)
	}
}

// TestKilled kills the store at every call that changes a file. At once all links are
// of one generation, after Recover all files are; daemons obey it, and it goes on.
func TestKilled(t *testing.T) {
	needStrace(t)
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			all := points(t, sc)
			t.Logf("%d calls", len(all))
			if len(all) < 60 {
				t.Fatalf("only %d calls were seen", len(all))
			}
			for i, p := range all {
				if !names(p.call) && i%10 != 0 && !thorough() {
					continue // a kill there leaves nearly what one at the next call does
				}
				t.Run(fmt.Sprintf("%s-%d", p.call, p.n), func(t *testing.T) {
					t.Parallel()
					f := farmIn(t, shm(t))
					sc.start(t, f)
					out, err := underStrace(f, sc, "-o", "/dev/null", "-e", "trace="+p.call,
						"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", p.call, p.n))
					var exit *exec.ExitError
					if !errors.As(err, &exit) || exit.Exited() {
						t.Fatalf("not killed: %v\n%s", err, out)
					}
					f.linksOfOne(t, sc)
					f.settle(t, sc)
					if t.Failed() {
						t.Log(p.line)
					}
				})
			}
		})
	}
}

// TestFails has every call that changes a file fail, as a full, broken or read-only
// disk makes it.
func TestFails(t *testing.T) {
	needStrace(t)
	for i, sc := range scenarios()[:3] {
		t.Run(sc.name, func(t *testing.T) {
			for j, p := range points(t, sc) {
				errno, ever := errnoFor(p.call, (i+j)/6+(i+j)%6)
				if strings.Contains(p.line, "/store/lock") || strings.Contains(p.line, "/obeyed") || (i+j)%6 != 0 && !thorough() {
					continue
				}
				t.Run(fmt.Sprintf("%s-%d-%s%s", p.call, p.n, errno, ever), func(t *testing.T) {
					t.Parallel()
					f := farmIn(t, shm(t))
					sc.start(t, f)
					out, err := underStrace(f, sc, "-o", "/dev/null", "-e", "trace="+p.call,
						"-e", fmt.Sprintf("inject=%s:error=%s:when=%d%s", p.call, errno, p.n, ever))
					var exit *exec.ExitError
					if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
						t.Fatalf("%v\n%s", err, out)
					}
					if err != nil && p.call != "write" && !strings.Contains(out, f.base) {
						t.Errorf("the error doesn't name the place: %s", out)
					}
					f.linksOfOne(t, sc)
					f.settle(t, sc)
					if t.Failed() {
						t.Log(p.line, out)
					}
				})
			}
		})
	}
}

// errnoFor spreads the errors over the calls; "+" is from then on.
func errnoFor(call string, i int) (errno, ever string) {
	switch call {
	case "fsync":
		return "EIO", []string{"", "+"}[i%2]
	case "openat": // reading goes on
		return []string{"ENOSPC", "EROFS", "EDQUOT"}[i%3], ""
	case "write":
		return []string{"ENOSPC", "EIO"}[i%2], []string{"", "+"}[i/2%2]
	case "unlinkat":
		return []string{"EROFS", "EIO", "EPERM"}[i%3], []string{"", "+"}[i/3%2]
	}
	return []string{"ENOSPC", "EROFS", "EIO"}[i%3], []string{"", "+"}[i/3%2]
}

// linksOfOne checks what is there the moment after: no two links of two generations.
func (f *farm) linksOfOne(t *testing.T, sc scenario) {
	t.Helper()
	if sc.name == "repair" {
		return // file by file
	}
	seen := map[uint64]string{}
	for _, g := range []uint64{1, 2} {
		for p := range filesOf(g) {
			if copied(p) {
				continue
			}
			b, err := os.ReadFile(filepath.Join(f.root, p))
			if err != nil || string(b) == operators[5:] {
				continue
			}
			var of uint64
			if _, err := fmt.Sscanf(strings.TrimPrefix(string(b), p), " of generation %d", &of); err != nil {
				t.Errorf("%s is half: %q", p, b)
			}
			seen[of] = p
		}
	}
	if len(seen) > 1 {
		t.Errorf("files of two generations: %v", seen)
	}
}

// settle has the store recover and checks that the machine is wholly on one
// generation, that daemons obey that, and that pushing goes on.
func (f *farm) settle(t *testing.T, sc scenario) {
	t.Helper()
	s, err := Open(Config{Root: f.root, Dir: f.dir, Activator: obeyed{f.act}})
	if err != nil {
		t.Fatal(err)
	}
	f.s = s
	if err := s.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	st, err := s.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	on := uint64(0)
	if st.Current != nil {
		on = st.Current.Generation
	}
	allowed := false
	for _, g := range sc.ends {
		allowed = allowed || g == on
	}
	if !allowed {
		t.Errorf("on generation %d, want one of %v", on, sc.ends)
	}
	if sc.name != "repair" {
		if on == 0 {
			same(t, f.onHost(t), sc.bare)
		} else {
			f.want(t, on, st.Phase)
		}
	}
	if b, err := os.ReadFile(filepath.Join(f.base, "obeyed")); err == nil && string(b) != fmt.Sprint(on) {
		t.Errorf("daemons obey generation %s, the files are of %d", b, on)
	}
	f.noRubbish(t)
	if st.Current != nil && st.Phase == Switched {
		f.step(t, on, "confirm")
	}
	f.push(t, sc.next)
	f.want(t, sc.next, Settled)
}
