package gce_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth/gce"
)

// server is a metadata server whose tokens live as long as it is told.
func server(t *testing.T, token func(n int32) string) *atomic.Int32 {
	t.Helper()
	asked := &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/identity" ||
			r.FormValue("audience") != "https://c.example.com/?a&b" || r.FormValue("format") != "full" {
			http.Error(w, "bad request "+r.URL.String(), http.StatusBadRequest)
			return
		}
		s := token(asked.Add(1))
		if s == "" {
			http.Error(w, "no service account", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, s)
	}))
	t.Cleanup(s.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(s.URL, "http://"))
	return asked
}

func living(t *testing.T, d time.Duration, id int32) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": time.Now().Add(d).Unix(), "jti": fmt.Sprint(id)}).SignedString([]byte("k"))
	require.NoError(t, err)
	return s
}

func TestKept(t *testing.T) {
	asked := server(t, func(n int32) string { return living(t, time.Hour, n) })
	source := gce.Identity("https://c.example.com/?a&b")
	first, err := source(t.Context())
	require.NoError(t, err)
	again, err := source(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.EqualValues(t, 1, asked.Load())
}

func TestAskedAgain(t *testing.T) {
	asked := server(t, func(n int32) string {
		if n > 2 {
			return ""
		}
		return living(t, time.Minute, n)
	})
	source := gce.Identity("https://c.example.com/?a&b")
	first, err := source(t.Context())
	require.NoError(t, err)
	second, err := source(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, second, "it is near its end")
	third, err := source(t.Context())
	require.NoError(t, err)
	require.Equal(t, second, third, "there is no other, and this one is good for a minute")
	require.EqualValues(t, 3, asked.Load())
}

func TestNoToken(t *testing.T) {
	for want, token := range map[string]string{
		"no service account": "",
		"no token":           "s3cret",
		"with an end":        "e30.e30.",
	} {
		server(t, func(int32) string { return token })
		_, err := gce.Identity("https://c.example.com/?a&b")(t.Context())
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "s3cret")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := gce.Identity("https://c.example.com/?a&b")(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// The agent of an instance is to give its token.
func ExampleIdentity() {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln") // on an instance, Google's
	}))
	defer s.Close()
	os.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(s.URL, "http://"))
	defer os.Unsetenv("GCE_METADATA_HOST")

	token, err := gce.Identity("https://controller.example.com")(context.Background()) // ws.Options{Token: …}
	fmt.Println(strings.Count(token, "."), err)
	// Output: 2 <nil>
}
