package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

// serve serves h over loopback, and returns its host and port.
func (l *loop) serve(h http.Handler) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(listener) //nolint:errcheck // it ends with Close
	l.clean.add(func() { s.Close() })
	return listener.Addr().String(), nil
}

// dir is a folder that goes with the loop.
func (l *loop) dir() (string, error) {
	dir, err := os.MkdirTemp("", "miglink-peers-")
	if err != nil {
		return "", err
	}
	l.clean.add(func() { os.RemoveAll(dir) })
	return dir, nil
}
