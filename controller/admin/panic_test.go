package admin_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// Of an Authenticator that panics nobody is let in; of a Redact that does the record has no parameters. Nobody is told what
// they have panicked with.
func TestPanicsOfHooks(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var records []admin.Record
	calls := 0
	w := newWorld(t, admin.Options{
		Log:    slog.New(slog.NewTextHandler(&log, nil)),
		Redact: func(command.Type, command.Parameters) command.Parameters { panic("s3cret") },
		Audit: admin.AuditFunc(func(_ context.Context, r admin.Record) error {
			records = append(records, r)
			return nil
		}),
		Authenticator: admin.AuthenticatorFunc(func(context.Context, transport.Credentials) (admin.Operator, error) {
			if calls++; calls == 1 {
				panic("s3cret")
			}
			return admin.Operator{Name: "o", Grants: []admin.Grant{{Verb: admin.VerbSend}, {Verb: admin.VerbRead}}}, nil
		}),
	})
	status, body := w.request(http.MethodGet, "/vms", "")
	require.Equal(t, http.StatusInternalServerError, status)
	require.NotContains(t, body, "s3cret")
	status, body = w.request(http.MethodPost, "/commands", `{"vm_id":"vm-1","type":"drain","parameters":{"reason":"s3cret"}}`)
	require.Equal(t, http.StatusCreated, status, body)
	w.server.Close()
	require.Contains(t, log.String(), "serving a peer has panicked")
	require.NotContains(t, log.String(), "s3cret")
	require.Len(t, records, 2)
	require.Equal(t, admin.ActionSend, records[1].Action)
	require.Empty(t, records[1].Parameters)
}
