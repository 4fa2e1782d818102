package httplink

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/miglink/miglink/internal/secure"
)

// NewClient is an HTTP client for links: bounded where it connects, and not where an answer takes
// its time. It speaks HTTP/2 where the controller does, and asks the environment for a proxy. Where config sets
// no MinVersion, TLS 1.3 is the least.
func NewClient(config *tls.Config) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        secure.TLS(config),
			TLSHandshakeTimeout:    10 * time.Second,
			ExpectContinueTimeout:  time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        90 * time.Second,
			DisableCompression:     true, // small messages; a compressed stream would be held back
			ReadBufferSize:         2 << 10,
			WriteBufferSize:        2 << 10,
			MaxResponseHeaderBytes: 64 << 10,
		},
		// A redirect would carry the token to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Cause is what went wrong with a request, without its URL, which http.Client puts in front: it is long,
// and who reads of it knows where the controller is.
func Cause(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// maxDrain is how much of a body is read to get its connection back.
const maxDrain = 64 << 10

// Drain reads what is left of a body and closes it, so that the connection can be used again.
func Drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxDrain)
	body.Close()
}
