package grpc_test

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/web"
)

// connectProxy is a proxy that knows CONNECT, for who knows a password, and leads to one server.
func connectProxy(t *testing.T, to string) *url.URL {
	t.Helper()
	var open sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
		switch {
		case r.Method != http.MethodConnect:
			w.WriteHeader(http.StatusBadRequest)
			return
		case r.Header.Get("Proxy-Authorization") != want:
			w.Header().Set("Server", "squid")
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		case r.Host != "controller.example:80":
			w.WriteHeader(http.StatusForbidden)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", to)
		if err != nil {
			conn.Close()
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\nServer: squid\r\n\r\n")
		open.Go(func() {
			_, _ = io.Copy(server, buffered)
			server.Close()
		})
		open.Go(func() {
			_, _ = io.Copy(conn, server)
			conn.Close()
		})
	}))
	t.Cleanup(func() {
		s.Close()
		open.Wait()
	})
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	return u
}

// A proxy of an http:// URL is asked for a connection to the controller, and told no HTTP/2 itself.
func TestProxyIsAskedToConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grpc.HandlerOptions{Hosts: []string{"controller.example"}})
	proxy := connectProxy(t, w.addr)
	tr, err := grpc.New("http://controller.example", grpc.Options{})
	require.NoError(t, err)
	tr.UseProxy(proxy)
	_, err = tr.Dial(t.Context(), hello)
	require.ErrorAs(t, err, new(*transport.ForeignError))
	require.ErrorContains(t, err, "407 Proxy Authentication Required (Server squid)")
	require.ErrorContains(t, err, "it is the proxy "+proxy.String())

	proxy.User = url.UserPassword("me", "s3cret")
	l, err := tr.Dial(t.Context(), hello)
	require.NoError(t, err)
	require.NoError(t, l.Report(t.Context()))
	require.NoError(t, l.Close())

	other, err := grpc.New("http://other.example", grpc.Options{})
	require.NoError(t, err)
	other.UseProxy(proxy)
	_, err = other.Dial(t.Context(), hello)
	require.ErrorContains(t, err, "403 Forbidden")
	require.NotContains(t, err.Error(), "s3cret")
}

// A proxy that does not answer does not hold a dial longer than its context allows, and one that is not there is named.
func TestProxyThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr, err := grpc.New("http://controller.example", grpc.Options{})
	require.NoError(t, err)
	proxy := &url.URL{Scheme: "http", Host: l.Addr().String()}
	tr.UseProxy(proxy)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = tr.Dial(ctx, hello)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, l.Close())
	_, err = tr.Dial(t.Context(), hello)
	require.ErrorContains(t, err, "the proxy http://"+proxy.Host)
}

// The path of a URL counts: a controller is reached below it, and no other by a wrong one.
func TestPrefix(t *testing.T) {
	t.Parallel()
	serve := func(prefix string) string {
		c := controller.New(memory.New(), controller.Options{})
		path, h := grpc.Handler(c, grpc.HandlerOptions{})
		mux := http.NewServeMux()
		mux.Handle(prefix+path, http.StripPrefix(prefix, h))
		s := httptest.NewUnstartedServer(nil)
		s.Config = web.NewServer(context.Background(), mux, web.ServerOptions{})
		s.Start()
		t.Cleanup(func() {
			c.Close()
			s.Close()
		})
		return s.URL
	}
	root, below := serve(""), serve("/team")
	for url, ok := range map[string]bool{
		root: true, root + "/": true, root + "/api/v1": true, root + "/api/v1/": true, root + "/api/v2": false, root + "/team": false, root + "/team/api/v1": false,
		below: false, below + "/api/v1": false, below + "/team": true, below + "/team/api/v1": true,
	} {
		l, err := dial(t, url, grpc.Options{})
		if !ok {
			require.ErrorAs(t, err, new(*transport.ForeignError), url)
			require.ErrorContains(t, err, "404", url)
			continue
		}
		require.NoError(t, err, url)
		require.NoError(t, l.Close())
	}
}
