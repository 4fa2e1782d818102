package framed

import (
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// record is what the recorder does.
func (s *Session) record() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recordAll()
}

// quickly is how long recording may take for the goroutine that reads to do it: about as long as it takes to
// wake another.
const quickly = 100 * time.Microsecond

// recordAll passes on what acks have come until there are none, unless somebody does already. mu is locked,
// but not meanwhile.
func (s *Session) recordAll() {
	if s.recording {
		return
	}
	s.recording = true
	for len(s.acks) > 0 && s.err == nil {
		frames := s.someAcks()
		s.mu.Unlock()
		began := time.Now()
		// mu is not locked here: a panic that passed would unlock it again, which ends the process.
		err := safely.Do(func() error { return s.recordSome(frames) })
		took := time.Since(began)
		if err != nil {
			s.stop(err)
		}
		s.mu.Lock()
		s.quick = took < quickly
		if err != nil {
			break
		}
	}
	s.recording = false
}

// someAcks takes out those of several frames, so that the ledger may write them together, and no more than
// one frame can answer. mu is locked.
func (s *Session) someAcks() []numbered[ack.Ack] {
	n, acks := 0, 0
	for n < len(s.acks) && (n == 0 || acks+len(s.acks[n].items) <= ack.MaxBatch) {
		acks += len(s.acks[n].items)
		n++
	}
	frames := s.acks[:n:n]
	for i := range frames {
		s.waiting -= frames[i].size
	}
	if s.acks = s.acks[n:]; len(s.acks) == 0 {
		s.acks = nil
	}
	s.room.Broadcast()
	return frames
}

// recordSome passes on acks, and answers them. An error ends the link.
func (s *Session) recordSome(frames []numbered[ack.Ack]) error {
	all := frames[0].items
	for _, f := range frames[1:] {
		all = append(all, f.items...)
	}
	err := s.link.Ack(s.ctx, all...)
	if err != nil && !transport.Refused(err) {
		return err
	}
	answer := &Recorded{Upto: frames[len(frames)-1].n}
	at, ends := 0, true
	for _, f := range frames {
		for i := range f.items {
			if e := transport.AckError(err, at); e != nil {
				answer.Refused = append(answer.Refused, Refused{Frame: f.n, Index: i, Close: toWire(e)})
			}
			ends = ends && f.items[i].Stage.Final()
			at++
		}
	}
	s.answer(answer, ends && answer.Refused == nil)
	return nil
}
