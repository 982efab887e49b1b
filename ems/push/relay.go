package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/svm-cluster/svm/ems/bundle"
	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/ems/machine"
	"github.com/svm-cluster/svm/ems/render"
)

// Relays configures how a director reaches its real servers.
type Relays struct {
	// SSH without its key and hosts: those are of the generation that is relayed.
	SSH      SSH
	KeyFile  string        // key for a generation whose secrets aren't sealed to this machine; /etc/svm/relay.key
	Parallel int           // real servers at a time; 0: 16
	Timeout  time.Duration // of one real server; 0: 60 s
}

// delivered is a bundle that the station signed.
type delivered struct {
	*bundle.Bundle
	raw, sig []byte
}

// uploaded opens what lies in the incoming directory.
func (r *Receiver) uploaded(dir *incoming, generation uint64) (*delivered, error) {
	raw, err := dir.read(bundleName(generation), bundle.MaxBundle)
	if err != nil {
		return nil, &Error{Node: r.Node, Cause: Damaged, Err: err}
	}
	sig, err := dir.read(sigName(generation), maxSig)
	if err != nil {
		return nil, &Error{Node: r.Node, Cause: Damaged, Err: err}
	}
	b, err := bundle.Open(raw, sig, r.Pin)
	if err == nil && b.Generation != generation {
		err = fmt.Errorf("%s holds generation %d", bundleName(generation), b.Generation)
	}
	if err != nil {
		dir.remove(generation) // so that the next upload starts over
		return nil, &Error{Node: r.Node, Cause: Damaged, Err: err}
	}
	return &delivered{b, raw, sig}, nil
}

// ruling opens the bundle of the current generation.
func (r *Receiver) ruling() (*delivered, error) {
	m, p, err := r.Store.Current()
	if err != nil {
		return nil, err
	}
	if m == nil || p == nil || len(p.Bundle) == 0 {
		return nil, errors.New("this director has no generation yet: push one")
	}
	b, err := bundle.Open(p.Bundle, p.BundleSig, r.Pin)
	if err != nil {
		return nil, err
	}
	return &delivered{b, p.Bundle, p.BundleSig}, nil
}

// find gets the bundle of a generation; 0 is the current one. A verb that carries
// nothing to the machines goes by another generation's roster rather than not at all:
// by the newest that was uploaded, or the current one.
func (r *Receiver) find(dir *incoming, verb Verb, generation uint64) (*delivered, error) {
	current, cerr := r.ruling()
	if cerr == nil && (generation == 0 || current.Generation == generation) {
		return current, nil
	}
	if generation == 0 {
		return nil, cerr
	}
	d, err := r.uploaded(dir, generation)
	if err == nil || verb == Stage || verb == Switch {
		return d, err
	}
	if newest := dir.newest(); newest != 0 {
		if d, err := r.uploaded(dir, newest); err == nil {
			return d, nil
		}
	}
	if cerr == nil {
		return current, nil
	}
	return nil, err
}

func (r *Receiver) openDirector(dir *incoming, generation uint64) (*render.Config, machine.Proof, error) {
	d, err := r.uploaded(dir, generation)
	if err != nil {
		return nil, machine.Proof{}, err
	}
	secrets, err := d.Unseal(r.Node, r.Identity)
	if err != nil {
		return nil, machine.Proof{}, err
	}
	c, signed, err := d.Director(r.Node, secrets)
	if err != nil {
		return nil, machine.Proof{}, err
	}
	p := proof(signed)
	p.Bundle, p.BundleSig = d.raw, d.sig
	return c, p, nil
}

// relayKey is the director's key for the way to the real servers.
func (r *Receiver) relayKey(d *delivered) (ssh.Signer, error) {
	var key []byte
	secrets, err := d.Unseal(r.Node, r.Identity)
	if err == nil {
		key = secrets.RelayKey
	} else if key, _ = os.ReadFile(r.Relay.KeyFile); len(key) == 0 {
		return nil, fmt.Errorf("no key for the way to the real servers: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, errors.New("the key for the way to the real servers is damaged: push a new generation")
	}
	return signer, nil
}

// relay gives a verb to real servers, a few at a time.
func (r *Receiver) relay(ctx context.Context, dir *incoming, req Request, in io.Reader, out io.Writer) (Answer, error) {
	if r.Kind != render.Director || r.Relay == nil {
		return Answer{}, errors.New("only a director relays")
	}
	d, err := r.find(dir, req.Sub, req.Generation)
	if err != nil {
		return Answer{}, err
	}
	c, err := cluster.Parse("cluster.yaml", []byte(d.YAML))
	if err != nil {
		return Answer{}, err
	}
	hop := r.Relay.SSH
	if hop.Hosts, err = ParseHosts(HostLines(d.Roster)); err != nil {
		return Answer{}, err
	}
	if hop.Key, err = r.relayKey(d); err != nil {
		return Answer{}, err
	}
	// Whoever asked may go away. The goroutine ends with the session's input.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel(errors.New("the station has gone"))
	}()
	nodes := req.Nodes
	if len(nodes) == 0 {
		for i := range c.RealServers {
			nodes = append(nodes, c.RealServers[i].Name)
		}
	}
	say := &speaker{to: json.NewEncoder(out)}
	answers := make(map[string]Answer, len(nodes))
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(orInt(r.Relay.Parallel, 16))
	for _, node := range nodes {
		g.Go(func() error {
			a := r.hop(ctx, &hop, d, c, node, req, say)
			mu.Lock()
			answers[node] = a
			mu.Unlock()
			return nil
		})
	}
	_ = g.Wait()
	return Answer{Relayed: answers}, nil
}

func orInt(n, standard int) int {
	if n == 0 {
		return standard
	}
	return n
}

// speaker writes events, serially. A client that is gone is noticed elsewhere.
type speaker struct {
	mu sync.Mutex
	to *json.Encoder
}

func (s *speaker) say(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.to.Encode(e)
}

// stepOf is what a machine does under a verb.
func stepOf(v Verb) Step {
	switch v {
	case Stage:
		return Staging
	case Switch:
		return Switching
	case Confirm:
		return Confirming
	case Rollback:
		return RollingBk
	}
	return Connecting
}

// hop gives one real server the verb.
func (r *Receiver) hop(ctx context.Context, way *SSH, d *delivered, c *cluster.Cluster, node string, req Request, say *speaker) Answer {
	ctx, cancel := context.WithTimeout(ctx, or(r.Relay.Timeout, time.Minute))
	defer cancel()
	a, err := func() (Answer, error) {
		s := c.RealServer(node)
		if s == nil {
			return Answer{}, failure(node, Refused, "generation %d has no real server of that name", d.Generation)
		}
		client, err := way.Connect(ctx, ServerTarget(c, s))
		if err != nil {
			return Answer{}, err
		}
		defer client.Close()
		own := Request{Verb: req.Sub, Generation: req.Generation}
		if req.Sub != Stage {
			say.say(Event{Node: node, Step: stepOf(req.Sub)})
			return client.Do(ctx, own, nil)
		}
		part, err := d.Part(node)
		if err != nil {
			return Answer{}, &Error{Node: node, Cause: Refused, Err: err}
		}
		return deliver(ctx, client, own, []file{{partName(req.Generation), part}}, func(e Event) { e.Node = node; say.say(e) })
	}()
	if err != nil {
		a = Answer{Error: plain(err.Error()), Cause: CauseOf(err)}
	}
	return a
}

// file is one upload.
type file struct {
	name string
	data []byte
}

// deliver uploads files and has them staged. When the machine finds them damaged an
// earlier upload may have left another beginning: then once more from nothing.
func deliver(ctx context.Context, c *Client, stage Request, files []file, say func(Event)) (Answer, error) {
	var total int64
	for _, f := range files {
		total += int64(len(f.data))
	}
	for fresh := false; ; fresh = true {
		before := int64(0)
		for _, f := range files {
			err := c.Upload(ctx, f.name, f.data, fresh, func(done int64) {
				say(Event{Step: Uploading, Done: before + done, Total: total})
			})
			if err != nil {
				return Answer{}, err
			}
			before += int64(len(f.data))
		}
		say(Event{Step: Staging})
		a, err := c.Do(ctx, stage, nil)
		if err != nil || a.OK || a.Cause != Damaged || fresh {
			return a, err
		}
	}
}
