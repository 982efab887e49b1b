package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/svm-cluster/svm/ems/bundle"
)

// asker is an HTTP client for directors. It opens a connection for each question and
// keeps none; it follows no redirect and uses no proxy.
type asker struct{ http *http.Client }

func newAsker() asker {
	return asker{&http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			DisableKeepAlives:      true,
			DisableCompression:     true, // what is small on the wire can't be large here
			ResponseHeaderTimeout:  10 * time.Second,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}}
}

// get fetches at most limit bytes.
func (a asker) get(ctx context.Context, at netip.AddrPort, path string, limit int64) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return nil, fmt.Errorf("%s answers %s: %q", at, resp.Status, strings.TrimSpace(string(text)))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", at, err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%s sends more than %d bytes", at, limit)
	}
	return body, nil
}

// heard is a director's Hello.
type heard struct {
	Hello
	at netip.AddrPort
}

// hello asks all directors at once, and returns those who answered: the highest
// generation first, of the same ones the active director. No one answered: an error.
func (a asker) hello(ctx context.Context, directors []netip.AddrPort) ([]heard, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	type answer struct {
		heard
		err error
	}
	answers := make(chan answer, len(directors))
	for _, at := range directors {
		go func() {
			h := heard{at: at}
			raw, err := a.get(ctx, at, "/v1/hello", 64<<10)
			if err == nil {
				err = json.Unmarshal(raw, &h.Hello)
			}
			answers <- answer{h, err}
		}()
	}
	var all []heard
	var last error
	for range directors {
		if got := <-answers; got.err == nil {
			all = append(all, got.heard)
		} else {
			last = got.err
		}
	}
	slices.SortFunc(all, func(x, y heard) int {
		switch {
		case x.Generation != y.Generation:
			if x.Generation > y.Generation {
				return -1
			}
			return 1
		case x.Active != y.Active:
			if x.Active {
				return -1
			}
			return 1
		}
		return x.at.Compare(y.at)
	})
	if len(all) == 0 {
		return nil, last
	}
	return all, nil
}

func (a asker) part(ctx context.Context, at netip.AddrPort) ([]byte, error) {
	return a.get(ctx, at, "/v1/part", bundle.MaxPart)
}

// bundle fetches the document and its signature. Where the director went on to another
// generation between the two, verifying them fails, and the next round has it right.
func (a asker) bundle(ctx context.Context, at netip.AddrPort) (raw, sig []byte, err error) {
	if raw, err = a.get(ctx, at, "/v1/bundle", bundle.MaxBundle); err != nil {
		return nil, nil, err
	}
	sig, err = a.get(ctx, at, "/v1/bundle.minisig", 64<<10)
	return raw, sig, err
}

// AskStatus asks a director for its Server's Status. Directors may, this one among
// them, and the station.
func AskStatus(ctx context.Context, at netip.AddrPort) (st Status, err error) {
	raw, err := newAsker().get(ctx, at, "/v1/status", 1<<20)
	if err == nil {
		err = json.Unmarshal(raw, &st)
	}
	return st, err
}
