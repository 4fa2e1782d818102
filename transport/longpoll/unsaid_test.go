package longpoll_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport/longpoll"
)

type asked func(*http.Request) (*http.Response, error)

func (f asked) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A poll that dials again with a cursor vouches for nothing: the agent may have acks of before that are not recorded, which
// the link has yet to be given. Those after it do.
func TestDialVouchesForNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, c *controller.Controller, client *http.Client) {
		var unsaid []string
		dial := func(after bool) {
			h := hello
			tr := open(t, longpoll.Options{Client: &http.Client{Transport: asked(func(r *http.Request) (*http.Response, error) {
				unsaid = append(unsaid, r.URL.Query().Get("unsaid"))
				return client.Transport.RoundTrip(r)
			})}})
			if after {
				send(t, c)
				l, err := tr.Dial(t.Context(), h)
				require.NoError(t, err)
				page, err := l.Receive(t.Context())
				require.NoError(t, err)
				h.After = page[len(page)-1].Cursor
				require.NoError(t, l.Close())
				unsaid = nil
			}
			l, err := tr.Dial(t.Context(), h)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _ = l.Receive(ctx) // nothing comes
			require.NoError(t, l.Close())
			synctest.Wait()
		}
		dial(false)
		require.Equal(t, []string{"", ""}, unsaid)
		dial(true)
		require.Equal(t, []string{"true", ""}, unsaid)
	})
}
