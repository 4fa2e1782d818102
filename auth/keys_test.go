package auth_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
)

func issue(t testing.TB, k *auth.Keys) string {
	t.Helper()
	token, err := k.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
	require.NoError(t, err)
	return token
}

// kidOf is the key that a token says has signed it.
func kidOf(t testing.TB, token string) string {
	t.Helper()
	header, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(header)
	require.NoError(t, err)
	var h struct{ Kid string }
	require.NoError(t, json.Unmarshal(b, &h))
	return h.Kid
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	k, dir, kid := open(t)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1, "nothing is left beside it")
	require.Equal(t, kid+".pem", files[0].Name())
	info, err := files[0].Info()
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	require.Equal(t, kid, kidOf(t, issue(t, k)))

	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	writeKey(t, filepath.Join(dir, "zz.pem"), private)
	_, err = auth.NewKey(dir)
	require.ErrorContains(t, err, "zz.pem", "that would sign on")
	_, err = auth.NewKey(filepath.Join(dir, "zz.pem"))
	require.Error(t, err)
}

// A new key signs at once and is known at once to a verifier elsewhere; a deleted one is worth nothing a second
// later.
func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuing, dir, first := open(t)
		verifying, err := auth.OpenKeys(dir, auth.KeysOptions{})
		require.NoError(t, err)
		v := verifier(t, verifying)
		passes := func(token string) error {
			_, err := v.Verify(token, auth.AudienceAgent)
			return err
		}
		old := issue(t, issuing)
		require.NoError(t, passes(old))

		time.Sleep(time.Nanosecond) // names are times
		second, err := issuing.New()
		require.NoError(t, err)
		require.NotEqual(t, first, second)
		fresh := issue(t, issuing)
		require.Equal(t, second, kidOf(t, fresh))
		require.NoError(t, passes(fresh))
		require.NoError(t, passes(old))

		require.NoError(t, os.Remove(filepath.Join(dir, first+".pem")))
		require.NoError(t, passes(old), "nobody has looked")
		time.Sleep(time.Second)
		require.ErrorContains(t, passes(old), "no key")
		require.NoError(t, passes(fresh))

		require.NoError(t, os.Remove(filepath.Join(dir, second+".pem")))
		time.Sleep(time.Second)
		require.Error(t, passes(fresh))
		_, err = issuing.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
		require.ErrorContains(t, err, "no private key")
	})
}

// The same name, length and time, as of two changes in one tick of the file system: another key all the same.
func TestKeyReplacedInPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, dir, kid := open(t)
		v := verifier(t, k)
		old := issue(t, k)
		_, private, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		name := filepath.Join(dir, kid+".pem")
		info, err := os.Stat(name)
		require.NoError(t, err)
		writeKey(t, name, private)
		require.NoError(t, os.Chtimes(name, info.ModTime(), info.ModTime()))
		time.Sleep(time.Second)
		_, err = v.Verify(old, auth.AudienceAgent)
		require.Error(t, err)
		_, err = v.Verify(issue(t, k), auth.AudienceAgent)
		require.NoError(t, err)
	})
}

// What breaks under an open set is logged once and changes nothing, but for what was deleted beside it.
func TestBrokenLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, dir, first := open(t)
		time.Sleep(time.Nanosecond)
		second, err := auth.NewKey(dir)
		require.NoError(t, err)
		var logs bytes.Buffer
		k, err := auth.OpenKeys(dir, auth.KeysOptions{Log: slog.New(slog.NewTextHandler(&logs, nil))})
		require.NoError(t, err)
		v := verifier(t, k)
		token := issue(t, k)
		require.Equal(t, second, kidOf(t, token))
		require.NoError(t, os.Remove(filepath.Join(dir, first+".pem")))
		good, err := os.ReadFile(filepath.Join(dir, second+".pem"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, second+".pem"), good[:len(good)/2], 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "new.pem"), []byte("s3cret"), 0o600))
		for range 3 {
			time.Sleep(time.Second)
			_, err = v.Verify(token, auth.AudienceAgent)
			require.NoError(t, err)
			require.Equal(t, second, kidOf(t, issue(t, k)))
		}
		require.Equal(t, 1, strings.Count(logs.String(), "\n"), "%s", &logs)
		require.Contains(t, logs.String(), "new.pem")
		require.Contains(t, logs.String(), second)
		require.NotContains(t, logs.String(), "s3cret")

		require.NoError(t, os.Rename(dir, dir+".moved"))
		time.Sleep(time.Second)
		_, err = v.Verify(token, auth.AudienceAgent)
		require.NoError(t, err, "a directory that is not there says nothing of its keys")
		require.Equal(t, 2, strings.Count(logs.String(), "\n"), "%s", &logs)
		require.NoError(t, os.Mkdir(dir, 0o700))
		time.Sleep(time.Second)
		_, err = v.Verify(token, auth.AudienceAgent)
		require.Error(t, err, "an empty one does")
	})
}

func TestOpenKeysRefuses(t *testing.T) {
	t.Parallel()
	_, dir, kid := open(t)
	good, err := os.ReadFile(filepath.Join(dir, kid+".pem"))
	require.NoError(t, err)
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	for want, put := range map[string]func(name string){
		"no PEM block": func(name string) { require.NoError(t, os.WriteFile(name, []byte("key"), 0o600)) },
		"after its PEM block": func(name string) {
			require.NoError(t, os.WriteFile(name, append(bytes.Clone(good), good...), 0o600))
		},
		"PKCS #8": func(name string) {
			require.NoError(t, os.WriteFile(name, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600))
		},
		"PKIX": func(name string) {
			require.NoError(t, os.WriteFile(name, []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), 0o600))
		},
		`"EC PRIVATE KEY"`: func(name string) {
			require.NoError(t, os.WriteFile(name, []byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"), 0o600))
		},
		"P-384":           func(name string) { writeKey(t, name, ecdsaKey(t, elliptic.P384())) },
		"P-521":           func(name string) { writeKey(t, name, ecdsaKey(t, elliptic.P521()).Public()) },
		"rsa.PublicKey":   func(name string) { writeKey(t, name, weak) },
		"does not sign":   func(name string) { writePKCS8(t, name, exchange) },
		"is not a file":   func(name string) { require.NoError(t, os.Mkdir(name, 0o700)) },
		"more than 16384": func(name string) { require.NoError(t, os.WriteFile(name, make([]byte, 17<<10), 0o600)) },
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "good.pem"), good, 0o600))
		put(filepath.Join(dir, "bad.pem"))
		_, err := auth.OpenKeys(dir, auth.KeysOptions{})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "bad.pem")
		require.NotContains(t, err.Error(), "AAAA")
		_, err = auth.NewKey(dir)
		require.ErrorContains(t, err, want)
	}
	_, err = auth.OpenKeys(t.TempDir(), auth.KeysOptions{})
	require.ErrorIs(t, err, auth.ErrNoKeys)
	_, err = auth.OpenKeys(filepath.Join(dir, "none"), auth.KeysOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A private key is its owner's alone; a public one is anybody's, and files that are no keys are left alone.
func TestModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // there are no modes
	}
	_, dir, kid := open(t)
	name := filepath.Join(dir, kid+".pem")
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o644} {
		require.NoError(t, os.Chmod(name, mode))
		_, err := auth.OpenKeys(dir, auth.KeysOptions{})
		require.ErrorContains(t, err, "chmod 600", "%s", mode)
	}
	require.NoError(t, os.Chmod(name, 0o400))
	_, err := auth.OpenKeys(dir, auth.KeysOptions{})
	require.NoError(t, err)

	public := t.TempDir()
	writeKey(t, filepath.Join(public, "p.pem"), ecdsaKey(t, elliptic.P256()).Public())
	require.NoError(t, os.Chmod(filepath.Join(public, "p.pem"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(public, ".new-1"), []byte("half"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(public, "README"), []byte("x"), 0o600))
	k, err := auth.OpenKeys(public, auth.KeysOptions{})
	require.NoError(t, err)
	_, err = k.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
	require.ErrorContains(t, err, "no private key")
}

// Keys are made and deleted while others issue and verify: whoever issues finds a key that signs.
func TestKeysAtTheSameTime(t *testing.T) {
	t.Parallel()
	k, dir, last := open(t)
	v := verifier(t, k)
	var working sync.WaitGroup
	defer working.Wait()
	for range 4 {
		working.Go(func() {
			for range 50 {
				token, err := k.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
				if err != nil {
					t.Errorf("issue: %s", err)
					return
				}
				if _, err := v.Verify(token, auth.AudienceAgent); err != nil && !strings.Contains(err.Error(), "no key") {
					t.Errorf("verify: %s", err)
				}
			}
		})
	}
	for range 20 {
		kid, err := k.New()
		require.NoError(t, err)
		require.NoError(t, os.Remove(filepath.Join(dir, last+".pem")))
		last = kid
	}
}
