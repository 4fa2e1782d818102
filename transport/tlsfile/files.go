package tlsfile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// lookEvery is how much time is left between two looks at files, so that a storm of connections does not
// read them for each.
const lookEvery = time.Second

// files are what was made of some files' contents. It is safe for concurrent use.
type files[T any] struct {
	names []string
	parse func(contents [][]byte) (T, error)
	check func(name string) error // of each file before it is read; nil: none
	log   *slog.Logger

	mu       sync.Mutex
	looked   time.Time
	contents [][]byte // what value was made of
	value    T
	trouble  string // that was logged
}

// open reads the files for the first time.
func open[T any](log *slog.Logger, parse func(contents [][]byte) (T, error), names ...string) (*files[T], error) {
	return openChecked(log, nil, parse, names...)
}

// openChecked is open of files that are used only if a check of their names finds nothing.
func openChecked[T any](log *slog.Logger, check func(name string) error, parse func(contents [][]byte) (T, error), names ...string) (*files[T], error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &files[T]{names: names, check: check, parse: parse, log: log.With("component", "tlsfile"), looked: time.Now()}
	if err := f.look(); err != nil {
		return nil, fmt.Errorf("tlsfile: %w", err)
	}
	return f, nil
}

// get returns what the files hold, or held when they were last of use.
func (f *files[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < lookEvery {
		return f.value
	}
	f.looked = time.Now()
	if err := f.look(); err == nil {
		f.trouble = ""
	} else if f.trouble != err.Error() {
		f.trouble = err.Error()
		f.log.Error("what was read before stays in use", "error", err)
	}
	return f.value
}

// look compares contents, not times of change: two changes may have the same.
func (f *files[T]) look() error {
	contents := make([][]byte, len(f.names))
	for i, name := range f.names {
		var err error
		if f.check != nil {
			if err = f.check(name); err != nil {
				return err
			}
		}
		if contents[i], err = os.ReadFile(name); err != nil {
			return err
		}
	}
	if slices.EqualFunc(contents, f.contents, bytes.Equal) {
		return nil
	}
	value, err := f.parse(contents)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(f.names, " with "), err)
	}
	if f.contents != nil {
		f.log.Info("files have changed", "files", f.names)
	}
	f.contents, f.value = contents, value
	return nil
}

func parsePair(contents [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	return &pair, err
}

const beginCertificate = "-----BEGIN CERTIFICATE-----"

var errCutOff = errors.New("a certificate is cut off or damaged")

// parsePool is stricter than AppendCertsFromPEM: who lists an authority means it.
func parsePool(contents [][]byte) (*x509.CertPool, error) {
	pool, rest := x509.NewCertPool(), contents[0]
	missing := bytes.Count(rest, []byte(beginCertificate))
	if missing == 0 {
		return nil, errors.New("there is no PEM certificate in it")
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(cert)
		missing--
	}
	if missing != 0 {
		return nil, errCutOff
	}
	return pool, nil
}
