package controller

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// silences is how many intervals of Hello.Alive may pass without a sign of life.
const silences = 2.5

// Dial opens a link in-process; the server half of an adapter does so for each agent that dials it.
func (c *Controller) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.stopping.Load() {
		return nil, c.goingAway(0)
	}
	if err := transport.ValidateVM(hello.VM); err != nil {
		return nil, err
	}
	// Presences and notices tell these, to readers in other languages and on terminals.
	for _, text := range [...]struct {
		field, s string
		most     int
	}{{"instance", hello.Instance, transport.MaxVM}, {"via", hello.Via, 2 * transport.MaxVM}} { // servers have added to via
		if text.s == "" {
			continue
		}
		if err := document.CheckName(text.field, text.s, text.most); err != nil {
			return nil, transport.Errorf(transport.CodeInvalid, "%s", err)
		}
	}
	box, err := c.admit(hello.VM)
	if err != nil {
		return nil, err
	}
	return c.open(ctx, box, hello)
}

// open is Dial from when the VM was admitted.
func (c *Controller) open(ctx context.Context, box *mailbox, hello transport.Hello) (transport.Link, error) {
	hello.VM = box.vm // a link for commands keeps nothing of a request, which goes; see attach, too
	l := &link{c: c, hello: hello, box: box, woken: make(chan struct{}, 1), done: make(chan struct{})}
	l.window = c.opts.Window
	if hello.Window > 0 {
		l.window = min(hello.Window, l.window)
	}
	if life := c.opts.LinkLifetime; life > 0 {
		l.expires = time.Now().Add(life/2 + rand.N(life/2+1))
	}
	if !hello.Uplink {
		if err := l.box.attach(ctx, l, hello); err != nil {
			l.box.leave()
			return nil, err
		}
	}
	c.links.add(l)
	if c.stopping.Load() { // it may have begun before the link could be seen
		l.end(c.goingAway(0))
	}
	if l.box.isForgotten() { // likewise, and then the link is that of nobody
		l.end(evicted(l.box.vm))
	}
	return l, nil
}

// link is one attachment of one VM.
type link struct {
	c       *Controller
	hello   transport.Hello
	box     *mailbox
	window  int
	expires time.Time     // zero: never
	woken   chan struct{} // look for commands; holds one
	done    chan struct{} // closed at the end

	ending  sync.Once
	err     error // why it ended; read after done
	closing sync.Once

	seen evidence // guarded by mailbox.mu

	push atomic.Pointer[func(now bool)] // called instead of woken

	again  sync.Mutex
	timer  *time.Timer // to look again, where nobody waits in Receive; nil until it is needed
	closed bool        // it is not needed any more
}

func (l *link) wake() { l.wakeNow(false) }

func (l *link) wakeNow(now bool) {
	if due := l.push.Load(); due != nil {
		(*due)(now)
		return
	}
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// end makes Receive return err. The link stays in the books until it is closed.
func (l *link) end(err error) {
	l.ending.Do(func() {
		l.err = err
		close(l.done)
		l.wake()
	})
}

func (l *link) Close() error {
	l.end(transport.ErrClosed)
	l.closing.Do(func() {
		if !l.hello.Uplink {
			l.box.detach(l)
		}
		l.box.leave()
		l.c.links.remove(l)
		l.again.Lock()
		defer l.again.Unlock()
		l.closed = true
		if l.timer != nil {
			l.timer.Stop()
		}
	})
	return nil
}

// Push implements transport.Pusher.
func (l *link) Push(due func(now bool)) {
	l.push.Store(&due)
	due(false)
}

// Take implements transport.Pusher.
func (l *link) Take(page []transport.Delivery) ([]transport.Delivery, error) {
	select {
	case <-l.done:
		return page, l.err
	default:
	}
	page, look, err := l.next(context.Background(), page)
	if err != nil {
		return page, err
	}
	if look.Equal(atOnce) {
		l.wake()
		return page, nil
	}
	now := time.Now()
	if look, err = l.lookAgain(look, now); err != nil {
		return page, err
	}
	if !look.IsZero() {
		l.wakeIn(look.Sub(now))
	}
	return page, nil
}

// wakeIn wakes after a while, and not at the time that was asked for before.
func (l *link) wakeIn(d time.Duration) {
	l.again.Lock()
	defer l.again.Unlock()
	switch {
	case l.closed:
	case l.timer == nil:
		l.timer = time.AfterFunc(d, l.wake)
	default:
		l.timer.Reset(d)
	}
}

func (l *link) Receive(ctx context.Context) ([]transport.Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		select {
		case <-l.done:
			return nil, l.err
		default:
		}
		if l.hello.Via == "" { // the agent itself asks for more
			l.Arrived(math.MaxUint64)
		}
		page, look, err := l.next(ctx, nil)
		if err != nil {
			return nil, err
		}
		if len(page) > 0 {
			return page, nil
		}
		if err := l.sleep(ctx, look); err != nil {
			return nil, err
		}
	}
}

// sleep returns when there may be something to do, at the latest at look unless that is zero.
func (l *link) sleep(ctx context.Context, look time.Time) error {
	now := time.Now()
	look, err := l.lookAgain(look, now)
	if err != nil {
		return err
	}
	var due <-chan time.Time
	if !look.IsZero() {
		timer := time.NewTimer(look.Sub(now))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-l.woken:
		runtime.Gosched() // others may be about to send a command to this VM: one page takes them all
	case <-due:
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// lookAgain is when to do so at the latest: at look, or when the link may come to its end. Past that
// the link is ended.
func (l *link) lookAgain(look, now time.Time) (time.Time, error) {
	for _, t := range [2]time.Time{l.expires, l.silentAt()} {
		if t.IsZero() {
			continue
		}
		if !now.Before(t) {
			l.end(l.overdue(now))
			return look, l.err
		}
		look = sooner(look, t)
	}
	return look, nil
}

// silentAt is when the VM will have broken its promise to be heard of; zero without a promise.
func (l *link) silentAt() time.Time {
	if l.hello.Alive <= 0 {
		return time.Time{}
	}
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	return l.box.lastSeen.Add(time.Duration(silences * float64(l.hello.Alive)))
}

func (l *link) overdue(now time.Time) error {
	if !l.expires.IsZero() && !now.Before(l.expires) {
		return transport.Errorf(transport.CodeMoved, "the link has reached its age")
	}
	return transport.Errorf(transport.CodeUnavailable, "nothing was heard of the VM for too long")
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (l *link) Ack(ctx context.Context, acks ...ack.Ack) error {
	if err := l.usable(ctx); err != nil {
		return err
	}
	l.box.touch(l.hello)
	var errs transport.AckErrors // nil while there are none
	refuse := func(i int, err error) {
		if errs == nil {
			errs = make(transport.AckErrors, len(acks))
		}
		errs[i] = err
	}
	edits := make([]ledger.Edit, 0, len(acks))
	at := make([]int, 0, len(acks)) // of each edit among the acks
	var belied []*ack.Ack
	now := time.Now()
	for i := range acks {
		a := &acks[i]
		if err := a.Validate(); err != nil {
			refuse(i, transport.Errorf(transport.CodeInvalid, "%s", err))
			continue
		}
		edits = append(edits, ledger.Edit{ID: a.CommandID, Do: func(e *ledger.Entry) error {
			if e.Belied(*a) {
				belied = append(belied, a)
			}
			return e.Acked(*a, l.speaker(), now)
		}})
		at = append(at, i)
	}
	if len(edits) == 0 {
		if err := l.chargeAcks(len(acks), nil); err != nil {
			l.end(err)
			return err
		}
		return errs.Of()
	}
	edited, err := l.c.ledger.Update(ctx, l.hello.VM, edits...)
	if err != nil {
		return getError(err)
	}
	for i := range edited {
		if err := edited[i].Err; err != nil {
			l.c.panicked(l.hello.VM, err)
			told := getAckError(err)
			if errors.Is(told, transport.ErrInternal) { // of this ack alone, as where Options.Redact panics
				l.c.peers.Write(ctx, slog.LevelError, "an ack cannot be recorded", l.hello.VM, slog.String("command_id", acks[at[i]].CommandID), slog.Any("error", err))
			}
			refuse(at[i], told)
		}
	}
	for _, a := range belied {
		l.c.peers.Write(ctx, slog.LevelWarn, "a command has run that was not to run any more, and another may run under its idempotency key", l.hello.VM,
			slog.String("command_id", a.CommandID), slog.String("stage", string(a.Stage)))
	}
	l.c.heard(l.box, edited, func(i int) int { return acks[at[i]].Attempt })
	if err := l.chargeAcks(len(acks), edited); err != nil {
		l.end(err)
		return err
	}
	return errs.Of()
}

// getAckError refuses a command that is not this VM's like one that does not exist.
func getAckError(err error) error {
	switch {
	case transport.Refused(err), errors.Is(err, transport.ErrSuperseded):
		return err
	case errors.Is(err, ledger.ErrUnreadable): // said again it would be no better
		return transport.Errorf(transport.CodeInvalid, "%s", err)
	}
	return getError(err)
}

func (l *link) Report(ctx context.Context, events ...event.Event) error {
	if err := l.usable(ctx); err != nil {
		return err
	}
	l.box.touch(l.hello)
	if l.hello.Uplink && l.hello.Heard.Answered {
		l.box.mu.Lock()
		l.box.witness(l.hello)
		l.box.mu.Unlock()
	}
	if err := l.chargeEvents(len(events)); err != nil {
		return err
	}
	for i, e := range events {
		if err := e.Validate(); err != nil {
			return transport.Errorf(transport.CodeInvalid, "event %d: %s", i, err)
		}
	}
	for _, e := range events {
		e.VMID = l.hello.VM
		if e.Type == event.RunsAbandoned {
			l.box.noteAbandoned(l.hello.Instance, e)
		}
		if take := l.c.opts.OnEvent; take != nil {
			if err := safely.Do(func() error { return take(ctx, l.hello.VM, e) }); err != nil {
				return l.c.hookFailed(l.hello.VM, err)
			}
		}
		if l.c.watch.wanted() {
			l.c.watch.publish(Notice{Kind: NoticeEvent, At: time.Now(), VM: l.hello.VM, Event: &e})
		}
	}
	return nil
}

// hookFailed is the refusal of a report that a hook of the embedder's did not take. A panic there is one report's end, and
// neither the link's, which would come back with the same report, nor the process's.
func (c *Controller) hookFailed(vm string, err error) error {
	if c.panicked(vm, err) {
		return transport.Errorf(transport.CodeInternal, "the report could not be taken")
	}
	return getAckError(err)
}

// panicked logs it where an error is that of a panic, as of a hook of the embedder's, and says whether it is.
func (c *Controller) panicked(vm string, err error) bool {
	var panicked *safely.Panic
	if !errors.As(err, &panicked) {
		return false
	}
	c.peers.Panicked(context.Background(), vm, panicked)
	return true
}

// usable lets acks and events pass after the controller has ended the link, for they are facts; not
// after its own Close.
func (l *link) usable(ctx context.Context) error {
	select {
	case <-l.done:
		if l.err == transport.ErrClosed { //nolint:errorlint // the very value that Close sets
			return l.err
		}
	default:
	}
	return ctx.Err()
}
