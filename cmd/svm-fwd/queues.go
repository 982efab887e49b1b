package main

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/svm-cluster/svm/ems/cluster"
	"github.com/svm-cluster/svm/forwarder"
	"github.com/svm-cluster/svm/forwarder/control"
	"github.com/svm-cluster/svm/forwarder/flow"
	"github.com/svm-cluster/svm/forwarder/pktio"
	"github.com/svm-cluster/svm/forwarder/pktio/afpacket"
)

// queues are a director's packet sockets and the workers on them.
type queues struct {
	receivers []*afpacket.Receiver
	senders   []*afpacket.Sender
	workers   []*forwarder.Worker
	views     []control.WorkerView
	feeds     []*flow.Feed // of each worker's changes; none without a copy of the connections
}

// feedSize is how many changes of one worker may wait to be copied: a tenth of a
// second's at a rate that no worker reaches.
const feedSize = 1 << 16

func openQueues(me *cluster.Director, n int, table *flow.Table, snapshot *atomic.Pointer[forwarder.Snapshot], now func() flow.Tick, copied bool, log *slog.Logger) (q *queues, err error) {
	q = &queues{}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.close())
		}
	}()
	if q.receivers, err = afpacket.NewReceivers(afpacket.Config{Device: me.Client.Device}, n); err != nil {
		return q, err
	}
	for i, rx := range q.receivers {
		var to [2]*afpacket.Sender
		for j, device := range []string{me.Server.Device, me.Client.Device} {
			if to[j], err = afpacket.NewSender(afpacket.SenderConfig{Device: device}); err != nil {
				return q, err
			}
			q.senders = append(q.senders, to[j])
		}
		var feed *flow.Feed
		if copied {
			feed = flow.NewFeed(feedSize)
			q.feeds = append(q.feeds, feed)
		}
		w := forwarder.NewWorker(forwarder.WorkerConfig{
			Receiver: rx, Servers: to[0], Clients: to[1], Table: table, Snapshot: snapshot, Now: now, Index: i, Count: n, Feed: feed, Log: log,
		})
		q.workers = append(q.workers, w)
		q.views = append(q.views, control.WorkerView{Counters: w.Counters(), Receiver: rx, Servers: to[0], Clients: to[1], Round: w.Round, Emptied: w.Emptied})
	}
	return q, nil
}

// SetFilter gives every receive queue the same filter.
func (q *queues) SetFilter(f pktio.Filter) error {
	for _, r := range q.receivers {
		if err := r.SetFilter(f); err != nil {
			return err
		}
	}
	return nil
}

// addMAC makes the client device take frames to one more address.
func (q *queues) addMAC(mac [6]byte) error {
	for _, r := range q.receivers {
		if err := r.AddMAC(mac); err != nil {
			return err
		}
	}
	return nil
}

func (q *queues) close() (err error) {
	for _, r := range q.receivers {
		err = errors.Join(err, r.Close())
	}
	for _, s := range q.senders {
		err = errors.Join(err, s.Close())
	}
	return err
}
