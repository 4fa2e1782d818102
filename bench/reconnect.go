package bench

import (
	"context"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger/bolt"
)

// Reconnect is what becomes of a fleet, and of the commands to it, when its controller is killed while it sends, and
// started again on the same ledger. Agents wait for a random time that grows to 30 s before they dial again: that is
// most of what is measured. Times are from the kill on.
type Reconnect struct {
	Contender
	VMs     int           `json:"vms"`
	Rate    int           `json:"rate"`             // commands a second, before and after
	Outage  time.Duration `json:"outage,omitempty"` // between the kill and the start
	Missing int           `json:"missing"`          // VMs that did not come back
	P50     time.Duration `json:"p50"`              // half of the VMs are back
	P99     time.Duration `json:"p99"`
	Last    time.Duration `json:"last"`
	Settled time.Duration `json:"settled"` // all commands are that were accepted until the last VM was back, and a little longer

	Accepted int `json:"accepted"` // commands that Send has accepted, in the whole run
	Lost     int `json:"lost"`     // of those: never settled as succeeded, or not run
	Twice    int `json:"twice"`    // commands that an agent has run more than once

	// Back is when each hundredth of those that came back was, the first at 0.
	Back []time.Duration `json:"back"`
}

// backTime is how long VMs may take to come back, and settleTime commands to settle once they have.
const (
	backTime   = 3 * time.Minute
	settleTime = time.Minute
)

func (o *Options) reconnects(ctx context.Context) ([]Reconnect, error) {
	var results []Reconnect
	for _, c := range o.killable() {
		r, err := o.reconnect(ctx, c)
		if err != nil {
			return results, err
		}
		results = append(results, r)
		o.Each()
	}
	return results, nil
}

func (o *Options) reconnect(ctx context.Context, of Contender) (Reconnect, error) {
	r := Reconnect{Contender: of, VMs: o.Fleet, Rate: o.Rate, Outage: o.Outage}
	var clean cleanup
	defer clean.run()
	dir, err := os.MkdirTemp("", "miglink-bench-")
	if err != nil {
		return r, err
	}
	clean.add(func() { os.RemoveAll(dir) })
	at, err := o.place(of.Transport, &clean)
	if err != nil {
		return r, err
	}
	w := newWitness()
	t := controllerTask{Transport: of.Transport, At: at, Listen: anyPort, Data: dir, VMs: o.Fleet, Rate: o.Rate}
	ctl, at, err := o.startKillable(&t, w)
	if err != nil {
		return r, err
	}
	clean.add(func() { ctl.close() }) // the latest
	a, err := o.startSome(agentsTask{Kind: of.Transport, At: at, Count: o.Fleet, Tell: true}, w.hear)
	if err != nil {
		return r, err
	}
	clean.add(a.close)
	if err := a.release(); err != nil {
		return r, err
	}
	if err := w.await(ctx, func() bool { return len(w.linked) == o.Fleet }); err != nil {
		return r, err
	}
	if err := ctl.tell(wordSend); err != nil {
		return r, err
	}
	time.Sleep(floodTurn * o.Turn)
	w.forget()
	killed := time.Now()
	ctl.kill()
	time.Sleep(o.Outage)
	if ctl, _, err = o.startKillable(&t, w); err != nil {
		return r, err
	}
	if err := ctl.tell(wordSend); err != nil {
		return r, err
	}
	late, cancel := context.WithTimeout(ctx, backTime)
	defer cancel()
	_ = w.await(late, func() bool { return w.back(killed) == o.Fleet }) // the report says who is missing
	if err := ctl.tell(wordSettle); err != nil {
		return r, err
	}
	late, cancel = context.WithTimeout(ctx, settleTime)
	defer cancel()
	_ = w.await(late, func() bool { return w.settled }) // the ledger says what is lost
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	ctl.close()
	a.close() // all that they say was heard
	return r, w.judge(ctx, &r, killed, dir)
}

// startKillable starts a controller in a process of its own. From the second time on it is at the same place.
func (o *Options) startKillable(t *controllerTask, w *witness) (*child, place, error) {
	c, ready, err := o.startChild("controller-"+t.Transport, task{Controller: t}, w.hear)
	if err != nil {
		return nil, place{}, err
	}
	at := t.At
	at.URL = strings.TrimPrefix(ready, "ready ")
	if u, err := url.Parse(at.URL); err == nil && u.Scheme == "http" {
		t.Listen = u.Host
	}
	return c, at, nil
}

// witness is what the processes say.
type witness struct {
	news chan struct{} // something was heard; holds one

	mu       sync.Mutex
	linked   map[string]time.Time // when each VM's first link was seen since it was forgotten
	accepted []string
	ran      map[string]int
	settled  bool
}

func newWitness() *witness {
	return &witness{news: make(chan struct{}, 1), linked: map[string]time.Time{}, ran: map[string]int{}}
}

// forget is called before the kill: who is linked now is to come back.
func (w *witness) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.linked)
}

// back counts the VMs that have had a link since then. mu is locked.
func (w *witness) back(then time.Time) int {
	n := 0
	for _, at := range w.linked {
		if at.After(then) {
			n++
		}
	}
	return n
}

func (w *witness) hear(line string) {
	words := strings.Fields(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(words) == 3 && words[0] == wordLinked:
		if nanos, err := strconv.ParseInt(words[2], 10, 64); err == nil && w.linked[words[1]].IsZero() {
			w.linked[words[1]] = time.Unix(0, nanos)
		}
	case len(words) == 2 && words[0] == wordAccepted:
		w.accepted = append(w.accepted, words[1])
	case len(words) == 2 && words[0] == wordRan:
		w.ran[words[1]]++
	case line == wordSettled:
		w.settled = true
	}
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// await returns once what was heard is ok.
func (w *witness) await(ctx context.Context, ok func() bool) error {
	for {
		w.mu.Lock()
		is := ok()
		w.mu.Unlock()
		if is {
			return nil
		}
		select {
		case <-w.news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// judge fills in what became of the VMs and of the commands, once all processes have ended.
func (w *witness) judge(ctx context.Context, r *Reconnect, killed time.Time, dir string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var back []time.Duration
	for _, at := range w.linked {
		if at.After(killed) {
			back = append(back, at.Sub(killed))
		}
	}
	slices.Sort(back)
	r.Missing = r.VMs - len(back)
	if n := len(back); n > 0 {
		at := func(percent int) time.Duration { return back[(n-1)*percent/100] }
		r.P50, r.P99, r.Last = at(50), at(99), at(100)
		for percent := range 101 {
			r.Back = append(r.Back, at(percent))
		}
	}
	led, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		return err
	}
	defer led.Close()
	r.Accepted = len(w.accepted)
	for _, id := range w.accepted {
		e, err := led.Get(ctx, id)
		if err != nil || e.State.Stage != ack.Succeeded || w.ran[id] == 0 {
			r.Lost++
			continue
		}
		r.Settled = max(r.Settled, e.UpdatedAt.Sub(killed))
	}
	for _, n := range w.ran {
		if n > 1 {
			r.Twice++
		}
	}
	return nil
}
