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

	"github.com/miglink/miglink/internal/private"
	"github.com/miglink/miglink/transport"
)

// lookInterval is how old what is known of a directory of keys may be.
const lookInterval = time.Second

// lookPause is from the beginning of one look to that of the next, at least: anybody can show tokens with a kid that
// is not known, and each asks for a look.
const lookPause = 100 * time.Millisecond

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
// The directory is looked at when a key is needed and the last look is a second old, and when a kid is not known: a new
// key counts at once, and a deleted one not any more after a second. Tokens with a kid that is not known wait for a look
// that begins after them; there is one for all of them, at most each 100 ms, and tokens of keys that are known do not
// wait for it. A directory that cannot be read changes nothing, and a file that became broken leaves its key as it was;
// both are logged.
//
// Who can write a key there can make tokens, so others must not: a file that others than its owner may write or
// replace, be it a public key, is not used, and neither is any key of such a directory; the owner is the one who runs
// this process, or root. Where that comes about later it is logged, and holds from the next look on. A directory on a
// file system that is mounted read-only may have any modes.
//
// They are safe for concurrent use.
type Keys struct {
	dir string
	o   KeysOptions

	read func(dir string, before keySet) (keySet, error) // readKeys, but in tests

	reading chan struct{} // holds one while the directory is read; take that before mu

	mu      sync.Mutex // never held while the directory is read
	set     keySet     // is replaced, and never written to
	looked  time.Time  // when the look began that has found set
	began   time.Time  // when the latest look began, also one that is not over
	next    *look      // the one that has not begun; nil: nobody waits for one
	trouble string     // what was logged last
}

// look is one reading of the directory. Whoever waits for done before it begins learns of all that was there then.
type look struct{ done chan struct{} }

// OpenKeys reads the keys in dir. None at all is an error, and so is any file that is broken, a private key that
// others than its owner may read, and what others may write.
func OpenKeys(dir string, o KeysOptions) (*Keys, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	began := time.Now()
	set, err := readKeys(dir, nil)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("auth: %w in %s: no file *%s", ErrNoKeys, dir, ext)
	}
	return &Keys{dir: dir, o: o, read: readKeys, reading: make(chan struct{}, 1), set: set, looked: began, began: began}, nil
}

// New is NewKey in the directory of the keys.
func (k *Keys) New() (kid string, err error) {
	kid, err = NewKey(k.dir)
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
	set := k.current()
	kid = set.newest()
	return kid, set[kid].key
}

// find is the key of a kid.
func (k *Keys) find(kid string) (key, bool) {
	f, ok := k.current()[kid]
	if !ok {
		k.look()
		f, ok = k.known()[kid]
	}
	return f.key, ok
}

// current are the keys as they were a second ago or later. It looks where that is not known, or the clock was set back.
func (k *Keys) current() keySet {
	k.mu.Lock()
	set, since := k.set, time.Since(k.looked)
	k.mu.Unlock()
	if since >= 0 && since < lookInterval {
		return set
	}
	k.look()
	return k.known()
}

// known are the keys that the last look has found.
func (k *Keys) known() keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// look returns after a look that began after the call. All who call before it begins share it.
func (k *Keys) look() {
	k.mu.Lock()
	if l := k.next; l != nil {
		k.mu.Unlock()
		<-l.done
		return
	}
	mine := &look{make(chan struct{})}
	k.next = mine
	k.mu.Unlock()
	defer close(mine.done)

	k.reading <- struct{}{}
	defer func() { <-k.reading }()
	before := k.begin()
	set, err := k.read(k.dir, before)
	k.found(set, err)
}

// begin waits until a look may begin, and returns what is known before it. Call it with reading held.
func (k *Keys) begin() keySet {
	k.mu.Lock()
	pause := lookPause - time.Since(k.began)
	k.mu.Unlock()
	if pause > 0 && pause <= lookPause { // longer: the clock was set back
		<-time.After(pause)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next = nil // first: who comes from now on may want what the directory gets while it is read
	k.began = time.Now()
	return k.set
}

// found takes what a look has found. Call it with reading held.
func (k *Keys) found(set keySet, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looked = k.began
	if set != nil {
		k.set = set
	}
	trouble := ""
	if err != nil {
		trouble = err.Error()
		if trouble != k.trouble {
			what := "keys that were known go on being used"
			if errors.As(err, new(*private.Error)) {
				what = "keys that others may write are not used"
			}
			k.o.Log.Error(what, "component", "auth", "error", trouble)
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
// set then is nil where dir cannot be read, and empty where others may write there; else it has what was known before
// of each broken file, and nothing of a file that others may write.
func readKeys(dir string, before keySet) (keySet, error) {
	if err := private.Dir(dir); errors.As(err, new(*private.Error)) {
		return keySet{}, err
	} else if err != nil {
		return nil, err
	}
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

// readAgain reads a key's file, unless it is as it was before. With an error comes what was known before, but of a
// file that others may write: they may have written it.
func readAgain(name string, before keyFile) (keyFile, error) {
	now := time.Now()
	if err := private.File(name); errors.As(err, new(*private.Error)) {
		return keyFile{}, fmt.Errorf("%w; chmod 600 if it is a private key", err)
	} else if err != nil {
		return before, err
	}
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
