package agent

import "github.com/miglink/miglink/ack"

// memory is the outcomes of the latest finished commands, to answer for them again.
type memory struct {
	max    int
	finals map[string]ack.Ack
	order  []string // a ring once it is full
	next   int
}

func newMemory(limit int) *memory { return &memory{max: limit, finals: map[string]ack.Ack{}} }

func (m *memory) add(final ack.Ack) {
	id := final.CommandID
	if _, ok := m.finals[id]; !ok {
		if len(m.order) < m.max {
			m.order = append(m.order, id)
		} else {
			delete(m.finals, m.order[m.next])
			m.order[m.next] = id
			m.next = (m.next + 1) % m.max
		}
	}
	m.finals[id] = final
}

func (m *memory) get(id string) (ack.Ack, bool) {
	final, ok := m.finals[id]
	return final, ok
}
