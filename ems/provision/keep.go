package provision

import (
	"context"
	"time"
)

// want is one thing to be kept running: key says when it has to begin anew, and run
// may be nil.
type want struct {
	key string
	run func(context.Context) error
}

// running is a want that was started.
type running struct {
	stop context.CancelFunc
	done chan struct{}
}

func (r *running) end() {
	if r != nil {
		r.stop()
		<-r.done
	}
}

func (r *running) ended() bool {
	if r == nil {
		return false
	}
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// keep runs what wanted says, and changes it when that says otherwise.
func (s *Server) keep(ctx context.Context, wanted func() want) error {
	var key string
	var now *running
	defer func() { now.end() }()
	var pause time.Time // not before
	for {
		w := wanted()
		switch {
		case w.key != key:
			now.end()
			now, key, pause = nil, w.key, time.Time{}
		case now.ended():
			now, pause = nil, time.Now().Add(time.Second)
		}
		if w.run != nil && now == nil && !time.Now().Before(pause) {
			now = s.start(ctx, w)
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return nil
		}
	}
}

func (s *Server) start(ctx context.Context, w want) *running {
	ctx, stop := context.WithCancel(ctx)
	r := &running{stop, make(chan struct{})}
	go func() {
		defer close(r.done)
		defer stop()
		if err := w.run(ctx); err != nil && ctx.Err() == nil {
			s.problem("run "+w.key, err.Error())
		}
	}()
	return r
}
