package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ext ends the name of a key's file; what is before is its kid.
const ext = ".pem"

// maxKeyFile bounds what is read of a key's file, in bytes.
const maxKeyFile = 16 << 10

// key is one of the Keys.
type key struct {
	method jwt.SigningMethod // the one that fits the key's type: a token cannot ask for another
	public crypto.PublicKey
	signer crypto.Signer // nil: only the public half is known
}

// keyName is that of a key which is made now: names sort by time.
func keyName(now time.Time) string { return now.UTC().Format("20060102T150405.000000000Z") }

// NewKey makes an Ed25519 key in dir, as a file that only its owner may read, and returns its kid. Keys that are open
// on dir, in any process, sign with it from their next look on. The directory is made if there is none. A private key
// there whose name sorts after the new one is an error: it would go on signing.
func NewKey(dir string) (kid string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	kid = keyName(time.Now())
	if set, err := readKeys(dir, nil); err != nil {
		return "", fmt.Errorf("auth: %w", err)
	} else if newest := set.newest(); newest >= kid {
		return "", fmt.Errorf("auth: %s would sort before %s in %s, which would go on signing: rename that", kid+ext, newest+ext, dir)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := writeNew(filepath.Join(dir, kid+ext), block); err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	return kid, nil
}

// writeNew makes a file that is there with all of its content, or not at all.
func writeNew(name string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600, and no name of a key
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// readKey reads a key's file. No error holds any of its content.
func readKey(name string) (key, error) {
	info, err := os.Stat(name)
	if err != nil {
		return key{}, err
	}
	if !info.Mode().IsRegular() { // a pipe would be waited for
		return key{}, fmt.Errorf("%s is not a file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return key{}, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // of what was opened
		return key{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return key{}, err
	}
	if len(b) > maxKeyFile {
		return key{}, fmt.Errorf("%s is no key: it has more than %d bytes", name, maxKeyFile)
	}
	k, err := parseKey(b)
	if err != nil {
		return key{}, fmt.Errorf("%s: %w", name, err)
	}
	if k.signer != nil && openToOthers(info) {
		return key{}, fmt.Errorf("%s is a private key that others than its owner may read: chmod 600", name)
	}
	return k, nil
}

// openToOthers says whether anybody but the owner may open the file. Windows has no such modes.
func openToOthers(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
}

func parseKey(b []byte) (key, error) {
	block, rest := pem.Decode(b)
	if block == nil {
		return key{}, errors.New("it holds no PEM block")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return key{}, errors.New("there is something after its PEM block")
	}
	switch block.Type {
	case "PRIVATE KEY":
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return key{}, errors.New("its private key does not parse as PKCS #8")
		}
		signer, ok := private.(crypto.Signer)
		if !ok {
			return key{}, fmt.Errorf("its private key is a %T, which does not sign", private)
		}
		method, err := methodOf(signer.Public())
		return key{method, signer.Public(), signer}, err
	case "PUBLIC KEY":
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return key{}, errors.New("its public key does not parse as PKIX")
		}
		method, err := methodOf(public)
		return key{method, public, nil}, err
	}
	return key{}, fmt.Errorf("its PEM block is a %.40q, not a PRIVATE KEY (PKCS #8) or a PUBLIC KEY (PKIX)", block.Type)
}

// methodOf is the one way in which a key of this type signs.
func methodOf(public crypto.PublicKey) (jwt.SigningMethod, error) {
	switch p := public.(type) {
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA, nil
	case *ecdsa.PublicKey:
		if p.Curve == elliptic.P256() {
			return jwt.SigningMethodES256, nil
		}
		return nil, fmt.Errorf("its key is on the curve %s, not P-256", p.Curve.Params().Name)
	}
	return nil, fmt.Errorf("its key is a %s, neither Ed25519 nor ECDSA P-256", strings.TrimPrefix(fmt.Sprintf("%T", public), "*"))
}
