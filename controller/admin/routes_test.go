package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// Every endpoint there is refuses whoever has no grant, and whoever is nobody, and each is on record.
func TestEveryRouteNeedsAGrant(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	cmd, err := command.New(command.Drain{}, command.Options{ID: "c-1"})
	require.NoError(t, err)
	_, err = c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	var records []Record
	audit := AuditFunc(func(_ context.Context, r Record) error {
		records = append(records, r)
		return nil
	})
	body := map[Action]string{ActionSend: `{"vm_id":"vm-1","type":"drain","id":"c-2"}`, ActionCancel: `{}`, ActionSettle: `{}`, ActionForget: `{"force":true}`}
	for _, test := range []struct {
		a      Authenticator
		status []int
	}{
		{AuthenticatorFunc(func(context.Context, transport.Credentials) (Operator, error) { return Operator{Name: "eve"}, nil }), []int{http.StatusForbidden, http.StatusNotFound}},
		{AuthenticatorFunc(func(context.Context, transport.Credentials) (Operator, error) {
			return Operator{}, transport.ErrUnauthorized
		}), []int{http.StatusUnauthorized}},
	} {
		actions := map[Action]bool{}
		for _, r := range routes {
			method, path, _ := strings.Cut(r.pattern, " ")
			path = strings.NewReplacer("{id}", "c-1", "{vm_id}", "vm-1").Replace(path)
			req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body[r.action]))
			req.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			records = nil
			// A handler of its own: one records a refusal a second.
			Handler(c, Options{Authenticator: test.a, Audit: audit}).ServeHTTP(answer, req)
			require.Contains(t, test.status, answer.Code, "%s: %s", r.pattern, answer.Body)
			require.Len(t, records, 1, r.pattern)
			require.Equal(t, Denied, records[0].Decision, r.pattern)
			require.Equal(t, r.action, records[0].Action)
			require.NotEmpty(t, records[0].Code)
			require.False(t, actions[r.action], "an action is that of one endpoint")
			actions[r.action] = true
		}
	}
	list, err := c.List(t.Context(), "vm-1", 0, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Nil(t, list[0].Cancel)
	require.False(t, list[0].State.Settled())
}

// Every endpoint with a name in its path reads it in both forms in which it may be written there.
func TestEveryRouteReadsNames(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	nobody := AuthenticatorFunc(func(context.Context, transport.Credentials) (Operator, error) { return Operator{Name: "eve"}, nil })
	for _, r := range routes {
		method, path, _ := strings.Cut(r.pattern, " ")
		if !strings.Contains(path, "{") {
			continue
		}
		for segment, want := range map[string]string{"pool-1": "pool-1", "=pool=2F=3D1": "pool/=1", "=pool=2": ""} {
			var records []Record
			audit := AuditFunc(func(_ context.Context, r Record) error { // it has what is refused of every action
				records = append(records, r)
				return nil
			})
			at := strings.NewReplacer("{id}", segment, "{vm_id}", segment).Replace(path)
			body := ""
			if r.action.Changes() {
				body = "{}"
			}
			req := httptest.NewRequestWithContext(t.Context(), method, at, strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			Handler(c, Options{Authenticator: nobody, Audit: audit}).ServeHTTP(answer, req)
			require.Len(t, records, 1, "%s %s: %d %s", method, at, answer.Code, answer.Body)
			require.Equal(t, want, records[0].VM+records[0].CommandID, "%s", r.pattern)
			require.Equal(t, want == "", answer.Code == http.StatusBadRequest, "%s: %s", r.pattern, answer.Body)
		}
	}
}
