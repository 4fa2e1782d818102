package admin_test

import (
	"context"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/ledger/memory"
)

// FuzzHandler: whatever an operator's request is, its answer is a success or a problem document, and comes in the
// end.
func FuzzHandler(f *testing.F) {
	for _, seed := range []struct{ method, path, query, body string }{
		{"GET", "/vms", "", ""},
		{"GET", "/vms/vm-1", "", ""},
		{"GET", "/vms/vm-1/commands", "limit=10&before=7", ""},
		{"POST", "/vms/vm-1/commands", "", `{"type":"drain","parameters":{"reason":"x"},"ttl":"1m"}`},
		{"GET", "/commands/c-1", "wait=1ms", ""},
		{"DELETE", "/commands/c-1", "reason=x", ""},
		{"POST", "/commands/c-1/cancel", "", `{"reason":"x"}`},
		{"GET", "/watch", "", ""},
		{"PATCH", "/", "%zz", "{"},
	} {
		f.Add(seed.method, seed.path, seed.query, seed.body)
	}
	c := controller.New(memory.New(), controller.Options{})
	f.Cleanup(func() { c.Close() })
	h := admin.Handler(c, admin.Options{})
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // the client's patience
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", "http://localhost/", strings.NewReader(body))
		r.Method, r.URL = method, &url.URL{Path: path, RawQuery: query}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		answer := w.Result()
		if answer.StatusCode < 300 || answer.StatusCode == http.StatusMovedPermanently || answer.StatusCode == http.StatusTemporaryRedirect {
			return // the last two: a path that is not clean
		}
		require.GreaterOrEqual(t, answer.StatusCode, 400)
		kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		require.Equal(t, httplink.MediaType, kind, "%d", answer.StatusCode)
		p, err := httplink.ReadProblem(answer)
		require.NoError(t, err)
		require.Equal(t, answer.StatusCode, p.Status)
	})
}
