package agent

import "github.com/miglink/miglink/ack"

// memory is the outcomes of the latest finished commands, to answer for them again.
type memory struct {
	max    int
	finals []*ack.Ack     // a ring once it is full
	next   int            // the oldest then
	at     map[string]int // in finals, by command ID
}

func newMemory(limit int) *memory { return &memory{max: limit, at: map[string]int{}} }

func (m *memory) add(final *ack.Ack) {
	i, ok := m.at[final.CommandID]
	switch {
	case ok:
		m.finals[i] = final
		return
	case len(m.finals) < m.max:
		i = len(m.finals)
		m.finals = append(m.finals, final)
	default:
		i = m.next
		delete(m.at, m.finals[i].CommandID)
		m.finals[i] = final
		m.next = (m.next + 1) % m.max
	}
	m.at[final.CommandID] = i
}

// get returns nil for a command that is not remembered. Nobody writes to what it returns.
func (m *memory) get(id string) *ack.Ack {
	if i, ok := m.at[id]; ok {
		return m.finals[i]
	}
	return nil
}
