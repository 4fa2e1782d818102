package bolt

import "time"

// SecretsStay is how long the log may hold the secrets of a command that is settled, while the ledger is open.
// Close drops them, and so does Open after a crash.
const SecretsStay = time.Hour

// secretsRetry is the wait after the log could not be written anew.
const secretsRetry = time.Minute

// secrets says when the log is to be written anew because of what it holds. Only the writer touches it.
type secrets struct {
	inLog bool // of commands that are settled
	due   *time.Timer
}

func newSecrets() secrets {
	t := time.NewTimer(SecretsStay)
	t.Stop()
	return secrets{due: t}
}

// found notes that a command was settled whose secrets are in the log.
func (s *secrets) found() {
	if !s.inLog {
		s.inLog = true
		s.due.Reset(SecretsStay)
	}
}

// gone notes that the log was written anew.
func (s *secrets) gone() {
	s.inLog = false
	s.due.Stop()
}

// again tries later what has failed.
func (s *secrets) again() {
	if s.inLog {
		s.due.Reset(secretsRetry)
	}
}
