package oidc

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// requestTime bounds a request to the issuer, the wait for its turn included.
	requestTime = 10 * time.Second
	// interval is between two requests. Each token with a key that is not known makes for one, and anybody can
	// show those.
	interval = time.Second
	// maxBody bounds what is read of an answer, in bytes.
	maxBody = 1 << 20
)

func newClient(base http.RoundTripper, scheme string) *http.Client {
	if base == nil {
		base = http.DefaultTransport
	}
	return &http.Client{Timeout: requestTime, Transport: &slowly{base: base, scheme: scheme, turn: make(map[string]time.Time)}}
}

// slowly makes a request of each URL at most once in an interval, and never over a scheme that is not the issuer's.
type slowly struct {
	base   http.RoundTripper
	scheme string

	mu   sync.Mutex
	turn map[string]time.Time // when the next one is due, by URL: there are two
}

func (s *slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != s.scheme {
		return nil, fmt.Errorf("%s is not %s://, as the issuer is", r.URL.Redacted(), s.scheme)
	}
	t := time.NewTimer(s.wait(r.URL.String()))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	resp, err := s.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}

// wait takes the next turn, and returns how long until it comes.
func (s *slowly) wait(url string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	due := s.turn[url]
	if due.Before(now) {
		due = now
	}
	s.turn[url] = due.Add(interval)
	return due.Sub(now)
}
