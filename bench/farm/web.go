package farm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// ServerHeader carries the name of the real server that answered.
const ServerHeader = "X-Real-Server"

// Greeting is the body of an ordinary answer. It repeats what was asked and by
// whom, so that an answer to another question shows.
func Greeting(server, client, uri string) string {
	return fmt.Sprintf("%s says hello to %s, who asked for %s\n", server, client, uri)
}

// WebServer is the web server of one real server.
func WebServer(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, Greeting(name, r.RemoteAddr, r.RequestURI))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil || n < 0 {
			http.Error(w, "want /bytes/N", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_, _ = io.Copy(w, Content(n)) // the client sees a short body
	})
	upload := func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, Receipt(n, h.Sum(nil)))
	}
	mux.HandleFunc("PUT /", upload)
	mux.HandleFunc("POST /", upload)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(ServerHeader, name)
		mux.ServeHTTP(w, r)
	})
}

// Receipt is the answer to an upload.
func Receipt(n int64, sum []byte) string { return fmt.Sprintf("%d bytes, sha256 %x\n", n, sum) }

// Content is n bytes that nobody guesses, the same on every machine.
func Content(n int64) io.Reader {
	var seed [32]byte
	copy(seed[:], "svm-lab content "+strconv.FormatInt(n, 10))
	return io.LimitReader(rand.NewChaCha8(seed), n)
}

// ContentSum is the SHA-256 of Content.
func ContentSum(n int64) []byte {
	h := sha256.New()
	_, _ = io.Copy(h, Content(n)) // neither can fail
	return h.Sum(nil)
}

// envServe makes a program the web server of the real server that it names.
const envServe = "SVM_FARM_SERVE"

// Serve tells whether this process was started by a Farm as the web server of a
// real server. If so it returns after serving on port 80 of every address, when
// the process is told to end, and the caller exits.
func Serve() (asked bool, err error) {
	name := os.Getenv(envServe)
	if name == "" {
		return false, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Addr: ":80", Handler: WebServer(name), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return true, err
	}
	return true, nil
}
