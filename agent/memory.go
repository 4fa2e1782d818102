package agent

import (
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
)

// memory is the outcomes of the latest finished commands, to answer for them again.
type memory struct {
	max   int
	ended []ended        // a ring once it is full
	next  int            // the oldest then
	at    map[string]int // in ended, by command ID
}

// ended is what came of a command, and when that was created; zero: not known.
type ended struct {
	final   *ack.Ack
	created time.Time
}

func newMemory(limit int) *memory { return &memory{max: limit, at: map[string]int{}} }

func (m *memory) add(final *ack.Ack, created time.Time) {
	e := ended{final, created}
	i, ok := m.at[final.CommandID]
	switch {
	case ok:
		m.ended[i] = e
		return
	case len(m.ended) < m.max:
		i = len(m.ended)
		m.ended = append(m.ended, e)
	default:
		i = m.next
		delete(m.at, m.ended[i].final.CommandID)
		m.ended[i] = e
		m.next = (m.next + 1) % m.max
	}
	m.at[final.CommandID] = i
}

// change has another end of the same command, if it is remembered.
func (m *memory) change(final *ack.Ack) {
	if i, ok := m.at[final.CommandID]; ok {
		m.ended[i].final = final
	}
}

// get returns nil for a command that is not remembered. Nobody writes to what it returns.
func (m *memory) get(id string) *ack.Ack {
	if i, ok := m.at[id]; ok {
		return m.ended[i].final
	}
	return nil
}

// created is when the command of an ID was created; zero: not known.
func (m *memory) created(id string) time.Time {
	if i, ok := m.at[id]; ok {
		return m.ended[i].created
	}
	return time.Time{}
}

// of is get for a command that was delivered: reused says that the ID is remembered of another.
func (m *memory) of(c *command.Command) (final *ack.Ack, reused *ended) {
	i, ok := m.at[c.ID]
	switch {
	case !ok:
		return nil, nil
	case command.Reused(m.ended[i].created, c.CreatedAt):
		return nil, &m.ended[i]
	}
	return m.ended[i].final, nil
}
