// Package certtest helps to test TLS: authorities that a test makes up, what they certify, and servers that
// speak TLS in front of others that do not.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Authority certifies.
type Authority struct {
	Cert  *x509.Certificate
	PEM   []byte // its own certificate
	key   *ecdsa.PrivateKey
	chain []byte // of an intermediate: what goes with each certificate of its
}

// Pair is a certificate, with the intermediates that it needs, and its key, both PEM.
type Pair struct{ Cert, Key []byte }

// NewAuthority makes up an authority that nobody else knows.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	return authority(t, nil)
}

// Intermediate makes up an authority that this one certifies.
func (a *Authority) Intermediate(t testing.TB) *Authority {
	t.Helper()
	return authority(t, a)
}

func authority(t testing.TB, by *Authority) *Authority {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority " + serial(t).String()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	cert, pair, key := issue(t, template, by)
	a := &Authority{Cert: cert, PEM: pair.Cert, key: key}
	if by != nil {
		a.chain = append(pair.Cert, by.chain...)
	}
	return a
}

// Server certifies a server of these host names and IP addresses.
func (a *Authority) Server(t testing.TB, names ...string) Pair {
	t.Helper()
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.Issue(t, template)
}

// Client certifies a client of this name.
func (a *Authority) Client(t testing.TB, name string) Pair {
	t.Helper()
	return a.Issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Issue certifies what the template says, for an hour where it says nothing of that.
func (a *Authority) Issue(t testing.TB, template *x509.Certificate) Pair {
	t.Helper()
	template.KeyUsage = x509.KeyUsageDigitalSignature
	_, pair, _ := issue(t, template, a)
	pair.Cert = append(pair.Cert, a.chain...)
	return pair
}

func issue(t testing.TB, template *x509.Certificate, by *Authority) (*x509.Certificate, Pair, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.SerialNumber = serial(t)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return cert, Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	require.NoError(t, err)
	return n
}

// Pool holds this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

// TLS is the pair as package tls has it.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(p.Cert, p.Key)
	require.NoError(t, err)
	return c
}

// Files are those of one end, in a folder of the test's.
type Files struct {
	t             testing.TB
	Cert, Key, CA string // names
}

// NewFiles returns the names of files that do not exist yet.
func NewFiles(t testing.TB) Files {
	t.Helper()
	dir := t.TempDir()
	return Files{t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
}

// Write writes all three, in place of what they held.
func (f Files) Write(p Pair, ca *Authority) {
	f.t.Helper()
	f.WritePair(p)
	f.WriteCA(ca)
}

// WritePair writes a certificate and its key.
func (f Files) WritePair(p Pair) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(f.Cert, p.Cert, 0o600))
	require.NoError(f.t, os.WriteFile(f.Key, p.Key, 0o600))
}

// WriteCA writes the authorities that this end trusts.
func (f Files) WriteCA(trusted ...*Authority) {
	f.t.Helper()
	var b []byte
	for _, a := range trusted {
		b = append(b, a.PEM...)
	}
	require.NoError(f.t, os.WriteFile(f.CA, b, 0o600))
}
