package auth_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
)

// forged is a token of a key that is nobody's, under a kid.
func forged(t *testing.T, private ed25519.PrivateKey, kid string) string {
	t.Helper()
	return sign(t, jwt.SigningMethodEdDSA, map[string]any{"kid": kid}, jwt.MapClaims{
		"aud": auth.AudienceAgent, "sub": "vm-1", "exp": time.Now().Add(time.Hour).Unix(),
	}, private)
}

// However many tokens come with a kid that nobody knows, the directory is read ten times a second at most, and tokens
// of keys that are known do not wait meanwhile.
func TestUnknownKids(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, _, _ := open(t)
		v := verifier(t, k)
		good := issue(t, k)
		_, private, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		bad := forged(t, private, "unknown")
		var looks atomic.Int32
		k.BeforeLooks(func() { looks.Add(1) }, func() {})
		began := time.Now()
		var strangers sync.WaitGroup
		for range 50 {
			strangers.Go(func() {
				for time.Since(began) < time.Second {
					if _, err := v.Verify(bad, auth.AudienceAgent); err == nil {
						t.Error("it passed")
					}
				}
			})
		}
		for time.Since(began) < time.Second {
			now := time.Now()
			_, err := v.Verify(good, auth.AudienceAgent)
			require.NoError(t, err)
			require.Zero(t, time.Since(now), "of the clock that is not real")
			time.Sleep(7 * time.Millisecond)
		}
		strangers.Wait()
		require.LessOrEqual(t, looks.Load(), int32(11))
		require.Greater(t, looks.Load(), int32(5))
	})
}

// While the directory is being read, which may take long, tokens of known keys pass. A kid that was added meanwhile is
// not refused by that look, which may have missed it, but waits for the next.
func TestSlowLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, dir, _ := open(t)
		v := verifier(t, k)
		good := issue(t, k)
		_, private, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		bad, fresh := forged(t, private, "unknown"), forged(t, private, "fresh")
		release := make(chan struct{})
		k.BeforeLooks(func() {}, func() { <-release }) // it has been read, and is not told yet
		var asking sync.WaitGroup
		asking.Go(func() {
			_, err := v.Verify(bad, auth.AudienceAgent)
			if err == nil {
				t.Error("it passed")
			}
		})
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		_, err = v.Verify(good, auth.AudienceAgent)
		require.NoError(t, err)

		writeKey(t, filepath.Join(dir, "fresh.pem"), private)
		asking.Go(func() {
			_, err := v.Verify(fresh, auth.AudienceAgent)
			if err != nil {
				t.Errorf("a new key counts at once: %s", err)
			}
		})
		synctest.Wait()
		_, err = v.Verify(good, auth.AudienceAgent)
		require.NoError(t, err)
		close(release)
		asking.Wait()
	})
}
