package framed

import "time"

// Prober is a link whose peer can be asked, out of turn, whether it lives. Those of Dial are.
type Prober interface {
	// Probe sends a ping, and ends the link where nothing is heard of the peer within a time. It waits for the pipe, and
	// not for the answer.
	Probe(within time.Duration)
}

// Probe implements Prober.
func (l *link) Probe(within time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	heard := l.received
	time.AfterFunc(within, func() { l.silentSince(heard) })
	if len(l.queue) < maxQueued { // a full queue asks loudly enough
		l.queue = append(l.queue, &Frame{Ping: true})
		l.flush()
	}
}

// silentSince ends the link where nothing was heard after the frame of a number.
func (l *link) silentSince(heard uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.received == heard {
		l.finish(errSilent)
	}
}
