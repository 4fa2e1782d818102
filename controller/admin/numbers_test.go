package admin_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// Numbers that no float64 holds pass as they are: in parameters on their way in, in results on their way out.
func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	const doc = `{"n":[9007199254740993,{"a":18446744073709551615}],"big":123456789012345678901234567890,"f":1.50,"e":1E5,"small":1e-400}`
	w := newWorld(t, admin.Options{})
	status, body := w.request(http.MethodPost, "/commands", `{"vm_id":"vm-1","type":"count","id":"raw","parameters":`+doc+`}`)
	require.Equal(t, http.StatusCreated, status, body)
	_, err := w.client.Send(t.Context(), admin.Send{VM: "vm-1", Type: "count", ID: "typed", Parameters: command.Parameters(doc)})
	require.NoError(t, err)
	link, err := w.c.Dial(t.Context(), transport.Hello{VM: "vm-1"})
	require.NoError(t, err)
	for _, id := range []string{"raw", "typed"} {
		e, err := w.c.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, doc, string(e.Command.Parameters))
		require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: id, Stage: ack.Succeeded, Result: json.RawMessage(doc)}))
		s, err := w.client.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, doc, string(s.Result))
	}
	list, err := w.client.List(t.Context(), "vm-1", 0, 10)
	require.NoError(t, err)
	require.Equal(t, doc, string(list[0].Result))
	require.NoError(t, link.Close())
}
