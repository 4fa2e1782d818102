package tlsfile

import (
	"crypto/tls"
	"errors"
	"log/slog"

	"github.com/miglink/miglink/internal/private"
)

// ServerFiles are the PEM files of a server.
type ServerFiles struct {
	// Cert is the server's certificate, with its intermediates after it, and Key its key. Required.
	Cert, Key string
	// ClientCA is the authorities whose clients are let in with a certificate. A client without one is let in,
	// too, unless it is required. A file that others than its owner may write or replace is not used; the owner is the
	// one who runs this process, or root. Default: nobody is asked for a certificate.
	ClientCA string
	// RequireClient refuses a client that has no certificate of ClientCA.
	RequireClient bool
	// Log gets what was wrong with files that have changed. Default: none.
	Log *slog.Logger
}

// Server reads the files and returns the configuration of an HTTP server, which speaks HTTP/2 and HTTP/1.1.
// Other fields of it may be set before it is first used. An authority that is removed from ClientCA is not
// trusted in a session that resumes, either.
func Server(f ServerFiles) (*tls.Config, error) {
	if f.Cert == "" || f.Key == "" {
		return nil, errors.New("tlsfile: a server needs a certificate and its key")
	}
	if f.RequireClient && f.ClientCA == "" {
		return nil, errors.New("tlsfile: clients are required to have a certificate, but of no authority")
	}
	pair, err := open(f.Log, parsePair, f.Cert, f.Key)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2", "http/1.1"}, // net/http adds them to the outer of two configurations only
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil },
	}
	if f.ClientCA == "" {
		return c, nil
	}
	// Whoever adds an authority there can be any client.
	authorities, err := openChecked(f.Log, private.File, parsePool, f.ClientCA)
	if err != nil {
		return nil, err
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if f.RequireClient {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	c.ClientCAs = authorities.get()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := c.Clone()
		now.GetConfigForClient = nil
		now.ClientCAs = authorities.get() // by these package tls judges a session that resumes, too
		return now, nil
	}
	return c, nil
}
