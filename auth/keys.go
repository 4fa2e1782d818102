package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/miglink/miglink/transport"
)

// lookInterval is how often a directory of keys is looked at, at most, but for a kid that is not known.
const lookInterval = time.Second

// settled is how old a change must be for a file's time to tell the next one from it.
const settled = 2 * time.Second

// ErrNoKeys is a directory without keys.
var ErrNoKeys = errors.New("there is no key")

// KeysOptions are optional.
type KeysOptions struct {
	// Issuer is the iss of the tokens that are issued. Default: none.
	Issuer string
	// Log gets what is wrong with the directory after OpenKeys. Default: none.
	Log *slog.Logger
}

// Keys are the keys of a controller's own: the *.pem files of a directory, each a PKCS #8 private or a PKIX public
// key, Ed25519 or ECDSA P-256. The name before .pem is the key's kid. The private key whose name sorts last signs,
// all of them verify, so a key is rotated by [NewKey], and by deleting the old one once its tokens have expired.
// A controller that only verifies needs only the public halves.
//
// The directory is looked at when a key is needed, at most once a second, and when a kid is not known: a new key
// counts at once, and a deleted one not any more after a second. A directory that cannot be read changes nothing, and
// a file that became broken leaves its key as it was; both are logged.
//
// They are safe for concurrent use.
type Keys struct {
	dir string
	o   KeysOptions

	mu      sync.Mutex
	set     keySet
	looked  time.Time
	trouble string // what was logged last
}

// OpenKeys reads the keys in dir. None at all is an error, and so is any file that is broken, or a private key that
// others than its owner may read.
func OpenKeys(dir string, o KeysOptions) (*Keys, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	set, err := readKeys(dir, nil)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("auth: %w in %s: no file *%s", ErrNoKeys, dir, ext)
	}
	return &Keys{dir: dir, o: o, set: set, looked: time.Now()}, nil
}

// New is NewKey in the directory of the keys.
func (k *Keys) New() (kid string, err error) {
	kid, err = NewKey(k.dir)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.look()
	return kid, err
}

// Issue signs a token of these claims for one audience. An ID is made up where there is none; the time of issue is
// now by default, and Expires is required. Times are in whole seconds.
func (k *Keys) Issue(c Claims, audience string) (string, error) {
	if err := c.check(audience); err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	kid, signing := k.signing()
	if signing.signer == nil {
		return "", fmt.Errorf("auth: there is no private key in %s", k.dir)
	}
	t := jwt.NewWithClaims(signing.method, c.payload(audience, k.o.Issuer))
	t.Header["kid"] = kid
	token, err := t.SignedString(signing.signer)
	if err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	if len(token) > transport.MaxToken {
		return "", fmt.Errorf("auth: the token would have %d bytes, at most %d are allowed", len(token), transport.MaxToken)
	}
	return token, nil
}

// signing is the newest private key.
func (k *Keys) signing() (kid string, _ key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lookAgain()
	kid = k.set.newest()
	return kid, k.set[kid].key
}

// find is the key of a kid.
func (k *Keys) find(kid string) (key, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lookAgain()
	f, ok := k.set[kid]
	if !ok {
		k.look()
		f, ok = k.set[kid]
	}
	return f.key, ok
}

// lookAgain looks where that was long enough ago, or the clock was set back. Call it with mu held.
func (k *Keys) lookAgain() {
	if since := time.Since(k.looked); since < 0 || since >= lookInterval {
		k.look()
	}
}

// look reads what has changed. Call it with mu held.
func (k *Keys) look() {
	k.looked = time.Now()
	set, err := readKeys(k.dir, k.set)
	if set != nil {
		k.set = set
	}
	trouble := ""
	if err != nil {
		trouble = err.Error()
		if trouble != k.trouble {
			k.o.Log.Error("keys that were known go on being used", "component", "auth", "error", trouble)
		}
	}
	k.trouble = trouble
}

// keySet is the keys of a directory, by kid.
type keySet map[string]keyFile

type keyFile struct {
	key
	info fs.FileInfo
	read time.Time
}

// same says whether a file is still the one that was read. Its time says so only if it was not changed just before.
func (f keyFile) same(info fs.FileInfo) bool {
	return os.SameFile(f.info, info) && f.info.Size() == info.Size() && f.info.Mode() == info.Mode() &&
		f.info.ModTime().Equal(info.ModTime()) && f.read.Sub(info.ModTime()) > settled
}

// newest is the kid of the private key that signs, empty if there is none.
func (s keySet) newest() string {
	newest := ""
	for kid, f := range s {
		if f.signer != nil && kid > newest {
			newest = kid
		}
	}
	return newest
}

// readKeys reads the keys in dir, but for those that are as they were before. The error says all that is wrong: the
// set then is nil where dir cannot be read, else it has what was known before of each broken file.
func readKeys(dir string, before keySet) (keySet, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	set := keySet{}
	var wrong []error
	for _, e := range entries {
		kid, is := strings.CutSuffix(e.Name(), ext)
		if !is || strings.HasPrefix(kid, ".") || kid == "" {
			continue
		}
		f, err := readAgain(filepath.Join(dir, e.Name()), before[kid])
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			wrong = append(wrong, err)
		}
		if f.public != nil {
			set[kid] = f
		}
	}
	return set, errors.Join(wrong...)
}

// readAgain reads a key's file, unless it is as it was before. With an error comes what was known before.
func readAgain(name string, before keyFile) (keyFile, error) {
	now := time.Now()
	info, err := os.Stat(name)
	if err != nil {
		return before, err
	}
	if before.info != nil && before.same(info) {
		return before, nil
	}
	k, err := readKey(name)
	if err != nil {
		before.info = nil // it is read again at each look
		return before, err
	}
	return keyFile{k, info, now}, nil
}
