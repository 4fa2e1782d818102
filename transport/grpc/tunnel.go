package grpc

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/miglink/miglink/internal/httplink"
)

// dialTime bounds a connection, and what a proxy takes to make one.
const dialTime = 10 * time.Second

// proxy returns what a connection has to be asked of, by CONNECT, and what net/http is to use, which knows SOCKS. To a proxy
// of an http:// URL net/http would speak HTTP/2 as if that were the server.
func (t *Transport) proxy() (ask, use *url.URL, err error) {
	is, err := t.proxyOf(&http.Request{URL: t.base})
	switch {
	case err != nil || is == nil:
		return nil, nil, err
	case t.base.Scheme == "http" && (is.Scheme == "http" || is.Scheme == "https"):
		return is, nil, nil
	}
	return nil, is, nil
}

// tunnel returns a connection to addr that a proxy has made.
func (t *Transport) tunnel(ctx context.Context, proxy *url.URL, addr string) (net.Conn, error) {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := dialTCP(ctx, net.JoinHostPort(proxy.Hostname(), port))
	if err == nil && proxy.Scheme == "https" {
		config := t.o.TLS.Clone()
		config.ServerName = proxy.Hostname()
		conn = tls.Client(conn, config)
	}
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", proxy.Redacted(), err)
	}
	through, err := ask(ctx, conn, proxy, addr)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return through, nil
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}
	return d.DialContext(ctx, "tcp", addr)
}

// ask has a proxy connect what follows on conn with addr.
func ask(ctx context.Context, conn net.Conn, proxy *url.URL, addr string) (net.Conn, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	in := bufio.NewReader(conn)
	err := req.Write(conn)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(in, req) //nolint:bodyclose // that of a CONNECT is what follows
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the proxy %s did not answer: %w", proxy.Redacted(), ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("the proxy %s: %w", proxy.Redacted(), err)
	case resp.StatusCode != http.StatusOK:
		return nil, httplink.Foreign(resp, "it is the proxy "+proxy.Redacted()+", and was asked to connect to "+addr)
	}
	return &tunneled{conn, in}, nil
}

// tunneled is a connection of which the beginning may have come with the proxy's answer.
type tunneled struct {
	net.Conn
	in *bufio.Reader
}

// Read implements net.Conn.
func (c *tunneled) Read(b []byte) (int, error) { return c.in.Read(b) }
