package admin_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// An answer counts for the client only with what our server says: a portal's page, JSON or problem document is an error.
func TestClientOfAStranger(t *testing.T) {
	t.Parallel()
	for name, stranger := range map[string]http.HandlerFunc{
		"a page":             answer(200, "text/html", "<html>"),
		"a portal's JSON":    answer(200, "application/json", `{"status":"ok"}`),
		"a list":             answer(200, "application/json", `[]`),
		"another command":    answer(200, "application/json", `{"id":"c-2","vm_id":"vm-2","settled":true,"stage":"succeeded"}`),
		"nothing":            answer(200, "", ""),
		"no content":         answer(204, "", ""),
		"a redirect":         answer(302, "", ""),
		"a login":            answer(401, "text/html", "<html>"),
		"an absent command":  answer(404, "application/problem+json", `{"type":"about:blank","code":"unknown_command"}`),
		"too large":          answer(413, "text/html", ""),
		"an unsettled proxy": answer(503, "", ""),
	} {
		s := httptest.NewServer(stranger)
		client, err := admin.NewClient(s.URL, transport.Config{})
		require.NoError(t, err)
		for call, f := range map[string]func(ctx context.Context) error{
			"send": func(ctx context.Context) error {
				_, err := client.Send(ctx, admin.Send{VM: "vm-1", Type: command.TypeDrain})
				return err
			},
			"get":    func(ctx context.Context) error { _, err := client.Get(ctx, "c-1"); return err },
			"wait":   func(ctx context.Context) error { _, err := client.Wait(ctx, "c-1"); return err },
			"cancel": func(ctx context.Context) error { _, err := client.Cancel(ctx, "c-1", ""); return err },
			"fleet":  func(ctx context.Context) error { _, err := client.Fleet(ctx); return err },
			"list":   func(ctx context.Context) error { _, err := client.List(ctx, "vm-1", 0, 10); return err },
			"watch": func(ctx context.Context) error {
				for _, err := range client.Watch(ctx, "") {
					return err
				}
				return nil
			},
		} {
			err := f(t.Context())
			require.ErrorAs(t, err, new(*transport.ForeignError), "%s: %s", name, call)
			require.NotErrorIs(t, err, transport.ErrUnknownCommand)
		}
		s.Close()
	}
}

func answer(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Names pass what decodes paths and merges slashes.
func TestNamesThatProxiesRewrite(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	h := http.StripPrefix("/api/v1", admin.Handler(c, admin.Options{}))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path, r.URL.RawPath = strings.ReplaceAll(r.URL.Path, "//", "/"), ""
		h.ServeHTTP(w, r)
	}))
	defer s.Close()
	client, err := admin.NewClient(s.URL, transport.Config{})
	require.NoError(t, err)
	for _, name := range []string{"pool/vm", "pool//vm", "=pool=2Fvm", "a%2Fb"} {
		sent, err := client.Send(t.Context(), admin.Send{VM: name, ID: "of " + name, Type: command.TypeDrain})
		require.NoError(t, err)
		got, err := client.Get(t.Context(), sent.ID)
		require.NoError(t, err)
		require.Equal(t, "of "+name, got.ID)
		list, err := client.List(t.Context(), name, 0, 10)
		require.NoError(t, err)
		require.Len(t, list, 1)
		got, err = client.Cancel(t.Context(), sent.ID, "")
		require.NoError(t, err)
		require.Equal(t, name, got.VM)
		got, err = client.Settle(t.Context(), sent.ID, ack.Canceled, "")
		require.NoError(t, err)
		require.Equal(t, "of "+name, got.ID)
		got, err = client.Wait(t.Context(), sent.ID)
		require.NoError(t, err)
		require.Equal(t, "of "+name, got.ID)
		_, err = client.Forget(t.Context(), name, false)
		require.NoError(t, err)
	}
}
