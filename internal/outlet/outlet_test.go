package outlet_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/outlet"
	"github.com/miglink/miglink/transport"
)

// end is the owner of an outlet, and the link that it sends what is due at.
type end struct {
	sync.Mutex
	transport.Link
	due  func(now bool)
	page []transport.Delivery
	sent atomic.Int32
	over error
}

func (e *end) Ended() bool    { return e.over != nil }
func (e *end) Stop(err error) { e.over = err }

func (e *end) Send(page []transport.Delivery) (bool, error) {
	e.sent.Add(int32(len(page)))
	return true, nil
}

func (e *end) Push(due func(now bool)) {
	e.due = due
	due(false)
}

func (e *end) Take(page []transport.Delivery) ([]transport.Delivery, error) {
	page = append(page, e.page...)
	e.page = nil
	return page, nil
}

// What has waited for a link is sent by who opens it, where that waits for nobody.
func TestOpen(t *testing.T) {
	t.Parallel()
	for _, prompt := range []bool{true, false} {
		for _, ended := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				over := make(chan struct{})
				e := &end{page: make([]transport.Delivery, 3)}
				if ended {
					e.over = transport.ErrClosed
				}
				var crew outlet.Crew
				crew.Engage(e, over, e.Stop)
				var out outlet.Outlet
				out.Open(t.Context(), &crew, e, e, prompt)
				if prompt && !ended {
					require.EqualValues(t, 3, e.sent.Load())
				}
				synctest.Wait()
				e.page = append(e.page, make([]transport.Delivery, 2)...)
				e.due(false)
				synctest.Wait()
				if ended {
					require.Zero(t, e.sent.Load())
				} else {
					require.EqualValues(t, 5, e.sent.Load())
				}
				close(over)
				crew.Wait()
			})
		}
	}
}
