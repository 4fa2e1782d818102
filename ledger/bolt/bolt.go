package bolt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/private"
	"github.com/miglink/miglink/ledger"
)

// FileName is that of the archive in the ledger's directory.
const FileName = "ledger.db"

const (
	format      = "3"
	lockTimeout = time.Second
)

// ErrInUse is returned by Open while another process has the ledger open.
var ErrInUse = errors.New("in use by another process")

// Options are optional.
type Options struct {
	// Log gets what an operator has to know, such as entries that could not be read and were set aside. Default: none.
	Log *slog.Logger
}

// Ledger implements ledger.Ledger. Make one with Open.
type Ledger struct {
	dir   string
	db    *bolt.DB
	epoch string
	aside *aside

	// What only the writer touches.
	log       *logfile.File
	compactAt int64  // size at which it is written anew
	leftover  bool   // something in the log may be in the archive alone
	spare     []byte // room for the next commit's records, and for the lines of one of its requests
	spareLine []byte
	secrets   secrets
	archiving *archiving // nil: nothing is on its way
	archiveAt int        // how many settled entries begin the next

	queue    queue
	stop     chan struct{} // closed by Close
	stopped  chan struct{} // closed when the writer has returned
	closing  sync.Once
	closeErr error

	// next is the recent entries as the writer leaves them, committed or not. Note changes it, too; the
	// writer does not hold the lock while it commits.
	nextMu sync.Mutex
	redact ledger.Redact
	next   *recent
	dirty  map[string]*ledger.Entry // noted and not written yet, by command ID
	noted  []note                   // since when, the oldest first
	seqs   map[string]uint64        // the last of each VM that has been asked for
	// recentSeqs are the last of VMs among what was recent before anything was asked for.
	recentSeqs map[string]uint64

	// live is the recent entries that are committed: what readers see.
	liveMu sync.RWMutex
	live   *recent
}

// note is that a command was noted.
type note struct {
	id    string
	since time.Time
}

// Open opens or makes the ledger in dir. One process at a time may have it open: another
// gets ErrInUse, after a second. A directory that others than its owner may write or replace, or that holds a file
// that they may write, is an error which says what to do; the owner is the one who runs this process, or root.
// Entries that cannot be read do not keep it from opening: see UnreadableName.
func Open(dir string, o Options) (*Ledger, error) {
	l, err := open(dir, o)
	if err != nil {
		return nil, err
	}
	go l.write()
	return l, nil
}

// open is Open without the writer: until that runs commit is the caller's.
func open(dir string, o Options) (*Ledger, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if err := private.Data(dir); err != nil { // who can write there decides which commands there are
		return nil, fmt.Errorf("ledger: %w", err)
	}
	path := filepath.Join(dir, FileName)
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bolt.FreelistMapType,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("ledger: %s is %w", path, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: %s: %w", path, err)
	}
	l := &Ledger{
		dir:       dir,
		aside:     newAside(dir, o.Log),
		archiveAt: archiveMany,
		db:        db,
		queue:     newQueue(),
		stop:      make(chan struct{}),
		stopped:   make(chan struct{}),
		dirty:     map[string]*ledger.Entry{},
		seqs:      map[string]uint64{},
		secrets:   newSecrets(),
		live:      newRecent(),
	}
	if err := l.load(); err != nil {
		db.Close()
		return nil, fmt.Errorf("ledger: %s: %w", dir, err)
	}
	l.next = l.live.clone()
	l.recentSeqs = lastSeqs(l.live)
	if err := l.dropRows(); err != nil {
		l.log.Close()
		db.Close()
		return nil, fmt.Errorf("ledger: %s: %w", path, err)
	}
	return l, nil
}

// load makes what a new ledger needs, and reads what is recent.
func (l *Ledger) load() error {
	hasLog := false
	err := l.db.Update(func(tx *bolt.Tx) error {
		for _, name := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if v := meta.Get(metaFormat); v == nil {
			epoch := strings.ReplaceAll(uuid.NewString(), "-", "")[:16]
			if err := errors.Join(meta.Put(metaFormat, []byte(format)), meta.Put(metaEpoch, []byte(epoch))); err != nil {
				return err
			}
		} else if string(v) != format {
			return fmt.Errorf("%s is of format %q, this version reads %q", FileName, v, format)
		}
		l.epoch = string(meta.Get(metaEpoch))
		hasLog = meta.Get(metaLog) != nil
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.openLog(hasLog); err != nil || hasLog {
		return err
	}
	return l.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(metaLog, []byte{1}) })
}

// Epoch implements ledger.Ledger.
func (l *Ledger) Epoch() string { return l.epoch }

// Redact implements ledger.Ledger.
func (l *Ledger) Redact(r ledger.Redact) {
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	l.redact = r
}

// Append implements ledger.Ledger.
func (l *Ledger) Append(ctx context.Context, vm string, cmd command.Command, limits ledger.Limits, now time.Time) (ledger.Appended, error) {
	r := &request{vm: vm, add: &addition{cmd: cmd, limits: limits, now: now}}
	if err := l.do(ctx, r); err != nil {
		return ledger.Appended{}, err
	}
	return r.add.out, r.add.err
}

// Update implements ledger.Ledger.
func (l *Ledger) Update(ctx context.Context, vm string, edits ...ledger.Edit) ([]ledger.Edited, error) {
	r := &request{vm: vm, edits: edits}
	if err := l.do(ctx, r); err != nil {
		return nil, err
	}
	return r.edited, nil
}

// Note implements ledger.Ledger.
func (l *Ledger) Note(vm string, edits ...ledger.Edit) []ledger.Edited {
	out := make([]ledger.Edited, len(edits))
	l.nextMu.Lock()
	defer l.nextMu.Unlock()
	if l.closed() {
		return out
	}
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	for i, edit := range edits {
		e := l.next.get(edit.ID)
		if e == nil || e.VM != vm {
			out[i].Err = ledger.ErrNotFound
			continue
		}
		if e.State.Settled() {
			out[i].Entry = e
			continue
		}
		live := l.live.get(edit.ID)
		if out[i] = e.Apply(edit, l.redact); out[i].Changed {
			l.next.put(out[i].Entry)
			if l.dirty[edit.ID] == nil {
				l.noted = append(l.noted, note{edit.ID, time.Now()})
			}
			l.dirty[edit.ID] = out[i].Entry
		}
		switch live { // readers see it on top of what is committed
		case nil:
		case e:
			l.live.put(out[i].Entry)
		default:
			l.live.put(live.Apply(edit, l.redact).Entry)
		}
	}
	return out
}

// Prune implements ledger.Ledger.
func (l *Ledger) Prune(ctx context.Context, then time.Time, limit int) (int, error) {
	r := &request{prune: &pruning{then: then, limit: limit}}
	if err := l.do(ctx, r); err != nil {
		return 0, err
	}
	return r.prune.n, nil
}

// Close implements ledger.Ledger.
func (l *Ledger) Close() error {
	l.closing.Do(func() {
		close(l.stop)
		<-l.stopped
		l.queue.close()
		l.dropArchived(true)
		err := l.flush()
		if err == nil && l.secrets.inLog {
			err = l.rewriteLog(l.next)
		}
		l.closeErr = errors.Join(err, l.log.Close(), l.db.Close())
	})
	return l.closeErr
}

func (l *Ledger) closed() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}
