package provision

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/svm-cluster/svm/ems/render"
)

// Hello is what a director answers to GET /v1/hello. Nothing in it is signed: it only
// says whom to ask, and for what.
type Hello struct {
	render.Stamp        // of the confirmed generation; zero: there is none
	Node         string `json:"node"`
	Active       bool   `json:"active"`
	Version      string `json:"version,omitempty"`
}

// GenerationHeader is set in answers of a director that has a confirmed generation, 304 included.
const GenerationHeader = "Svm-Generation"

// answers is the HTTP side of a director. Who asks is known by the source address of
// the connection alone.
type answers struct {
	*Server
	rate *buckets[netip.Addr]
}

func newAnswers(s *Server) http.Handler {
	a := &answers{s, newBuckets[netip.Addr](10, 20, 512)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/hello", a.known(a.hello))
	mux.HandleFunc("GET /v1/status", a.known(a.status))
	mux.HandleFunc("GET /v1/part", a.known(a.part))
	mux.HandleFunc("GET /v1/bundle", a.known(a.bundle(func(v *view) []byte { return v.raw }, "application/json")))
	mux.HandleFunc("GET /v1/bundle.minisig", a.known(a.bundle(func(v *view) []byte { return v.sig }, "text/plain; charset=utf-8")))
	return mux
}

// known lets machines of the cluster in, at a bounded rate.
func (a *answers) known(do func(http.ResponseWriter, *http.Request, *view, netip.Addr)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			http.Error(w, "no source address", http.StatusForbidden)
			return
		}
		source := from.Addr().Unmap().WithZone("")
		if !a.rate.take(source, time.Now()) {
			a.count(HTTPLimited)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "asked too often", http.StatusTooManyRequests)
			return
		}
		v := a.view.Load()
		if v == nil || v.cluster == nil {
			a.unavailable(w, "this director has no cluster file yet")
			return
		}
		if v.server(source) == nil && v.director(source) == nil && v.cluster.Station.Address != source {
			a.forbid(w, "%s isn't an address of a machine of cluster %s (as of %s)", source, v.cluster.Name, v.name())
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		if v.bundle != nil {
			w.Header().Set(GenerationHeader, strconv.FormatUint(v.stamp.Generation, 10))
		}
		do(w, r, v, source)
	}
}

func (v *view) name() string {
	if v.bundle == nil {
		return "the director's cluster file"
	}
	return fmt.Sprintf("generation %d", v.stamp.Generation)
}

func (a *answers) forbid(w http.ResponseWriter, format string, args ...any) {
	a.count(HTTPRefused)
	http.Error(w, fmt.Sprintf(format, args...), http.StatusForbidden)
}

func (a *answers) unavailable(w http.ResponseWriter, why string) {
	a.count(HTTPUnready)
	w.Header().Set("Retry-After", "5")
	http.Error(w, why, http.StatusServiceUnavailable)
}

func (a *answers) hello(w http.ResponseWriter, _ *http.Request, v *view, _ netip.Addr) {
	h := Hello{Stamp: v.stamp, Node: a.cfg.Node, Active: a.cfg.Active(), Version: a.cfg.Version}
	h.Cluster = v.cluster.Name
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(h) // the asker is gone; nobody to tell
	a.count(HTTPHello)
}

// status is for directors, this one among them, and the station.
func (a *answers) status(w http.ResponseWriter, _ *http.Request, v *view, source netip.Addr) {
	if v.director(source) == nil && v.cluster.Station.Address != source {
		a.forbid(w, "%s is neither a director nor the station", source)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a.Status()) // as in hello
}

func (a *answers) part(w http.ResponseWriter, r *http.Request, v *view, source netip.Addr) {
	rs := v.server(source)
	if rs == nil {
		a.forbid(w, "%s isn't a real server's address: a part goes only to the machine that it is of", source)
		return
	}
	var have uint64
	if q := r.URL.Query().Get("have"); q != "" {
		n, err := strconv.ParseUint(q, 10, 64)
		if err != nil {
			http.Error(w, "have: want the number of a generation", http.StatusBadRequest)
			return
		}
		have = n
	}
	if v.bundle == nil {
		a.unavailable(w, v.why)
		return
	}
	if v.stamp.Generation <= have {
		a.count(HTTPSame)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	part, err := v.part(rs.Name)
	if err != nil {
		a.cfg.Log.Error("a real server's part can't be made", "node", rs.Name, "generation", v.stamp.Generation, "error", err)
		http.Error(w, "the part can't be made; see the director's log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(part)))
	if _, err := w.Write(part); err == nil {
		a.count(HTTPPart)
		a.cfg.Log.Info("a real server fetched its part", "node", rs.Name, "generation", v.stamp.Generation, "had", have)
	}
}

func (a *answers) bundle(of func(*view) []byte, kind string) func(http.ResponseWriter, *http.Request, *view, netip.Addr) {
	return func(w http.ResponseWriter, _ *http.Request, v *view, source netip.Addr) {
		switch {
		case v.director(source) == nil:
			a.forbid(w, "%s isn't a director's address on the server network: only directors get the bundle", source)
		case v.bundle == nil:
			a.unavailable(w, v.why)
		default:
			data := of(v)
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			if _, err := w.Write(data); err == nil {
				a.count(HTTPBundle)
			}
		}
	}
}
