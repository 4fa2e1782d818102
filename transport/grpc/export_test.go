package grpc

import (
	"net/http"
	"net/url"
)

// UseProxy has t ask proxy in place of the environment, which net/http reads once.
func (t *Transport) UseProxy(proxy *url.URL) {
	t.proxyOf = func(*http.Request) (*url.URL, error) { return proxy, nil }
}
