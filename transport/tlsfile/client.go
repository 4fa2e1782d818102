package tlsfile

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
)

// ClientFiles are the PEM files of a client, all of them optional.
type ClientFiles struct {
	// CA is the authorities that servers are trusted by. Default: the system's.
	CA string
	// Cert is the certificate to show to a server that asks for one, with its intermediates after it, and Key its
	// key. Default: none.
	Cert, Key string
	// Addresses are the IP addresses that are dialled, where CA is given and servers are not dialled by name: such
	// a server's certificate is to hold one of them. Package tls does not tell which of them it was.
	Addresses []string
	// Log gets what was wrong with files that have changed. Default: none.
	Log *slog.Logger
}

// Client reads the files and returns the configuration of a client. Other fields of it may be set, but with CA
// it verifies servers in VerifyConnection, against the authorities of the moment, and has package tls leave it
// to that: whoever replaces VerifyConnection trusts everybody.
func Client(f ClientFiles) (*tls.Config, error) {
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("tlsfile: a certificate and its key go together")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if f.Cert != "" {
		pair, err := open(f.Log, parsePair, f.Cert, f.Key)
		if err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.get(), nil }
	}
	if f.CA == "" {
		return c, nil
	}
	authorities, err := open(f.Log, parsePool, f.CA)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, len(f.Addresses))
	for i, s := range f.Addresses {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("tlsfile: %q is no IP address", s)
		}
		addresses[i] = a.WithZone("").String()
	}
	c.InsecureSkipVerify = true // and no less is verified:
	c.VerifyConnection = func(s tls.ConnectionState) error { return verifyServer(s, authorities.get(), addresses) }
	return c, nil
}

var errNoName = errors.New("the server was dialled by an IP address that is not among those of the configuration, or by no name")

// verifyServer does what package tls does where it verifies, also when a session resumes. Its state has the
// name that the server was told, and that is never an IP address.
func verifyServer(s tls.ConnectionState, authorities *x509.CertPool, addresses []string) error {
	if s.ServerName == "" && len(addresses) == 0 {
		return unverified(s.PeerCertificates, errNoName)
	}
	err := verify(s.PeerCertificates, x509.VerifyOptions{
		Roots: authorities, DNSName: s.ServerName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil || s.ServerName != "" {
		return err
	}
	for _, a := range addresses {
		if err = s.PeerCertificates[0].VerifyHostname(a); err == nil {
			return nil
		}
	}
	return unverified(s.PeerCertificates, err)
}

// verify verifies a chain, of which the peer has sent all but the root, at this moment.
func verify(sent []*x509.Certificate, o x509.VerifyOptions) error {
	if len(sent) == 0 {
		return errors.New("tlsfile: the peer has sent no certificate")
	}
	o.Intermediates = x509.NewCertPool()
	for _, c := range sent[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := sent[0].Verify(o); err != nil {
		return unverified(sent, err)
	}
	return nil
}

// unverified is the error that package tls has for it.
func unverified(sent []*x509.Certificate, err error) error {
	return &tls.CertificateVerificationError{UnverifiedCertificates: sent, Err: err}
}
