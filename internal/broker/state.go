package broker

import (
	"fmt"
	"sync"
	"time"
)

// state is whether there is a connection to the broker.
type state struct {
	mu   sync.Mutex
	away error     // why there is none; nil: there is one
	said time.Time // when set last reported that away is news
}

// set notes why there is no connection, or with nil that there is one. It reports whether the reason is news: another than
// before, or sayAgain has passed.
func (s *state) set(away error) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if away != nil {
		news = s.away == nil || s.away.Error() != away.Error() || now.Sub(s.said) >= sayAgain
	}
	if s.away = away; news {
		s.said = now
	}
	return news
}

// Ready returns nil while there is a connection to the broker, over which agents can dial, and else why there is none.
func (s *Server) Ready() error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("%s: the listener is closed", s.o.Name)
	}
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.away == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.o.Name, Bare(s.o.Name, s.state.away))
}
