package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
)

// A controller that stops refuses a dial over each transport by the same words, and asks for another wait each time. An agent
// that tries them all says the words once.
func TestRefusalOfEveryTransportIsSaidOnce(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	s := httptest.NewServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	defer s.Close()
	require.NoError(t, c.Close())
	auto, err := registry.Open("auto", transport.Config{URL: s.URL})
	require.NoError(t, err)
	_, err = auto.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "i"})
	require.ErrorIs(t, err, transport.ErrUnavailable)
	require.Equal(t, 1, strings.Count(err.Error(), "the controller is stopping"), "%s", err)
	require.True(t, strings.HasPrefix(err.Error(), "ws, sse, longpoll: "), "%s", err)
}
