package ha

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"
)

// Notify says who is told about role changes. The newest waits while one is
// under way and replaces the one that waited: a slow receiver misses what is
// over, never what is.
type Notify struct {
	Exec    []string      // run with SVM_ROLE, SVM_REASON, SVM_NODE, SVM_VRID, SVM_PRIORITY; JSON on its stdin
	URL     string        // POST of the JSON; any 2xx is success
	Timeout time.Duration // of each; 0: 5 s
}

// Notification is one role change, and the JSON that is sent.
type Notification struct {
	Time     time.Time `json:"time"`
	Node     string    `json:"node"`
	VRID     uint8     `json:"vrid"`
	Role     string    `json:"role"` // active or backup
	Reason   string    `json:"reason"`
	Priority uint8     `json:"priority"`
}

type notifier struct {
	cfg   Notify
	log   *slog.Logger
	queue chan Notification // one place; the loop is the only one that puts
}

func newNotifier(cfg Notify, log *slog.Logger) *notifier {
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	return &notifier{cfg: cfg, log: log, queue: make(chan Notification, 1)}
}

func (n *notifier) put(note Notification) {
	for {
		select {
		case n.queue <- note:
			return
		default:
		}
		select {
		case old := <-n.queue:
			n.log.Warn("ha: notification skipped: a newer one waits", "role", old.Role)
		default:
		}
	}
}

// close ends run after the last notification.
func (n *notifier) close() { close(n.queue) }

func (n *notifier) run() {
	for note := range n.queue {
		body, err := json.Marshal(note)
		if err != nil {
			n.log.Error("ha: notification", "err", err)
			continue
		}
		var wg sync.WaitGroup
		if len(n.cfg.Exec) > 0 {
			wg.Go(func() { n.exec(note, body) })
		}
		if n.cfg.URL != "" {
			wg.Go(func() { n.post(body) })
		}
		wg.Wait()
	}
}

func (n *notifier) exec(note Notification, body []byte) {
	env := append(os.Environ(), "SVM_ROLE="+note.Role, "SVM_REASON="+note.Reason, "SVM_NODE="+note.Node,
		fmt.Sprintf("SVM_VRID=%d", note.VRID), fmt.Sprintf("SVM_PRIORITY=%d", note.Priority))
	if out, err := command(context.Background(), n.cfg.Timeout, n.cfg.Exec, env, body); err != nil {
		n.log.Warn("ha: notification command failed", "command", n.cfg.Exec[0], "err", err, "output", out)
	}
}

func (n *notifier) post(body []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timeout)
	defer cancel()
	err := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.cfg.URL, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
		if res.StatusCode/100 != 2 {
			return fmt.Errorf("answered %s", res.Status)
		}
		return nil
	}()
	if err != nil {
		n.log.Warn("ha: notification webhook failed", "url", n.cfg.URL, "err", err)
	}
}
