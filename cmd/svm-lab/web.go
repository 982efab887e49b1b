package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// serverHeader carries the name of the real server that answered.
const serverHeader = "X-Real-Server"

// greeting is the body of an ordinary answer. It repeats what was asked and by
// whom, so that an answer to another question shows.
func greeting(server, client, uri string) string {
	return fmt.Sprintf("%s says hello to %s, who asked for %s\n", server, client, uri)
}

// webServer is the web server of one real server.
func webServer(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, greeting(name, r.RemoteAddr, r.RequestURI))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil || n < 0 {
			http.Error(w, "want /bytes/N", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_, _ = io.Copy(w, content(n)) // the client sees a short body
	})
	upload := func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, receipt(n, h.Sum(nil)))
	}
	mux.HandleFunc("PUT /", upload)
	mux.HandleFunc("POST /", upload)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(serverHeader, name)
		mux.ServeHTTP(w, r)
	})
}

// receipt is the answer to an upload.
func receipt(n int64, sum []byte) string { return fmt.Sprintf("%d bytes, sha256 %x\n", n, sum) }

// content is n bytes that nobody guesses, the same on every machine.
func content(n int64) io.Reader {
	var seed [32]byte
	copy(seed[:], "svm-lab content "+strconv.FormatInt(n, 10))
	return io.LimitReader(rand.NewChaCha8(seed), n)
}

// contentSum is the SHA-256 of content.
func contentSum(n int64) []byte {
	h := sha256.New()
	_, _ = io.Copy(h, content(n)) // neither can fail
	return h.Sum(nil)
}

// serve runs the web server until the context ends.
func serve(ctx context.Context, name, addr string) error {
	srv := &http.Server{Addr: addr, Handler: webServer(name), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
