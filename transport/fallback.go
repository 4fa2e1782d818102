package transport

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
)

// Way is one of the transports of a Fallback.
type Way struct {
	Name string
	Transport
}

// FallbackOptions are optional.
type FallbackOptions struct {
	// Stable is how long a link must live to count as good, where it has passed something since its welcome. A way whose
	// links twice in a row are not good, or end in silence, and not because the controller said so, is left for a while.
	// Default: 10 s.
	Stable time.Duration

	// Penalty is how long a way is left at first; it doubles up to ten times that while the way
	// goes on failing. Default: 1 min.
	Penalty time.Duration

	// Probe is how often, on average, a link of a lesser way looks whether a better one is open by
	// now; each time is drawn between half of it and one and a half. Default: 3 min.
	Probe time.Duration

	// Log gets which way is taken, and why. Default: none.
	Log *slog.Logger
}

// strikes is how many links of a way may end badly in a row before it is left.
const strikes = 2

// dialTime is for one way where the dial has no deadline.
const dialTime = 10 * time.Second

// probeTimeout bounds the look at a better way.
const probeTimeout = 15 * time.Second

// Fallback is a Transport that takes the best of several ways that works.
//
// A dial tries each in turn, for its share of the time that is left; those in penalty come last. On a
// lesser way it probes the better ones from time to time, with an uplink, which takes nothing from the
// link that is open; where one is open the link ends as ErrMoved, its agent dials again at once, and
// resumes at its cursor: nothing is lost or repeated.
type Fallback struct {
	o    FallbackOptions
	ways []*way
}

// way is what is known of one transport.
type way struct {
	Way
	mu      sync.Mutex
	struck  int       // links in a row that ended badly
	left    int       // times in a row that it was left
	penalty time.Time // left until then
}

// NewFallback is a Transport of ways, the best first.
func NewFallback(o FallbackOptions, ways ...Way) *Fallback {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Stable, 10*time.Second)
	def(&o.Penalty, time.Minute)
	def(&o.Probe, 3*time.Minute)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fallback{o: o}
	for _, w := range ways {
		f.ways = append(f.ways, &way{Way: w})
	}
	return f
}

// Dial implements Transport. If no way is open, the error joins those of all.
func (f *Fallback) Dial(ctx context.Context, hello Hello) (Link, error) {
	var errs allFailed
	order := f.order()
	for tried, i := range order {
		w := f.ways[i]
		link, err := w.dial(ctx, len(order)-tried, hello)
		if err == nil {
			chosen := []any{"vm_id", hello.VM, "transport", w.Name}
			if len(errs) > 0 {
				chosen = append(chosen, "because", errs)
			}
			f.o.Log.Info("transport chosen", chosen...)
			return f.wrap(link, i, hello), nil
		}
		if Terminal(err) || ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, failure{w.Name, err})
	}
	if len(errs) == 0 {
		return nil, errors.New("a fallback of no transports")
	}
	return nil, errs
}

// failure is why a way is not open.
type failure struct {
	way string
	err error
}

// reason is what the way failed with, without its name, and the same without the wait that was asked for.
func (f failure) reason() (text, timeless string) {
	text = strings.TrimPrefix(f.err.Error(), f.way+": ")
	if said := (*Error)(nil); errors.As(f.err, &said) {
		return text, strings.ReplaceAll(text, said.wait(), "")
	}
	return text, text
}

// allFailed is the failures of several ways on one line. What several have failed with is there once: a controller refuses
// an agent by the same words on each, but for the wait, which is shown as the first said it and RetryAfter takes it.
type allFailed []failure

func (e allFailed) Error() string {
	var says, timeless []string
	ways := map[string][]string{}
	for _, f := range e {
		text, what := f.reason()
		if ways[what] == nil {
			says, timeless = append(says, text), append(timeless, what)
		}
		ways[what] = append(ways[what], f.way)
	}
	for i, what := range timeless {
		says[i] = strings.Join(ways[what], ", ") + ": " + says[i]
	}
	return strings.Join(says, "; ")
}

func (e allFailed) Unwrap() []error {
	errs := make([]error, len(e))
	for i, f := range e {
		errs[i] = f.err
	}
	return errs
}

// order is the indices of the ways, those in penalty last. Each is there once, though a penalty may
// begin or end meanwhile.
func (f *Fallback) order() []int {
	now := time.Now()
	var good, left []int
	for i, w := range f.ways {
		if w.inPenalty(now) {
			left = append(left, i)
		} else {
			good = append(good, i)
		}
	}
	return append(good, left...)
}

// dial gives the way its share of the time: one that accepts and then says nothing must not use up
// that of the ways after it.
func (w *way) dial(ctx context.Context, left int, hello Hello) (Link, error) {
	share := dialTime
	if deadline, ok := ctx.Deadline(); ok {
		share = time.Until(deadline) / time.Duration(left)
	}
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	return w.Dial(ctx, hello)
}

func (w *way) inPenalty(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return now.Before(w.penalty)
}

// wrap watches over a link of the i-th way.
func (f *Fallback) wrap(inner Link, i int, hello Hello) Link {
	l := &fallbackLink{Link: inner, f: f, way: f.ways[i], began: time.Now()}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	if i > 0 && !hello.Uplink {
		l.mu.Lock()
		l.better, l.hello = f.ways[:i], hello
		l.probe = time.AfterFunc(f.probeIn(), l.look)
		l.mu.Unlock()
	}
	if d, ok := inner.(Direct); ok {
		return &directFallback{l, d}
	}
	return l
}

func (f *Fallback) probeIn() time.Duration { return f.o.Probe/2 + rand.N(f.o.Probe) }

type fallbackLink struct {
	Link
	f     *Fallback
	way   *way
	began time.Time

	ctx    context.Context // ends with the link; its cause says why
	cancel context.CancelCauseFunc
	judged sync.Once

	mu      sync.Mutex
	better  []*way
	hello   Hello
	probe   *time.Timer
	looking sync.WaitGroup
	closed  bool
}

// look probes the better ways, and ends the link if one is open.
func (l *fallbackLink) look() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.looking.Add(1)
	l.mu.Unlock()
	defer l.looking.Done()

	for _, w := range l.better {
		if !w.inPenalty(time.Now()) && l.open(w) {
			l.f.o.Log.Info("a better transport is open", "vm_id", l.hello.VM, "transport", w.Name)
			l.cancel(Errorf(CodeMoved, "transport %s is open", w.Name))
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.probe.Reset(l.f.probeIn())
	}
}

func (l *fallbackLink) open(w *way) bool {
	ctx, cancel := context.WithTimeout(l.ctx, probeTimeout)
	defer cancel()
	hello := l.hello
	hello.Uplink, hello.After, hello.Window = true, "", 0
	up, err := w.Dial(ctx, hello)
	if err != nil {
		return false
	}
	up.Close()
	return true
}

func (l *fallbackLink) Receive(ctx context.Context) ([]Delivery, error) {
	ctx, done := l.both(ctx)
	defer done()
	page, err := l.Link.Receive(ctx)
	return page, l.judge(ctx, err)
}

func (l *fallbackLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	ctx, done := l.both(ctx)
	defer done()
	return l.judge(ctx, l.Link.Ack(ctx, acks...))
}

func (l *fallbackLink) Report(ctx context.Context, events ...event.Event) error {
	ctx, done := l.both(ctx)
	defer done()
	return l.judge(ctx, l.Link.Report(ctx, events...))
}

// both is a context that also ends when the link moves.
func (l *fallbackLink) both(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// judge says why the link has ended, and has its way bear it.
func (l *fallbackLink) judge(ctx context.Context, err error) error {
	switch {
	case err == nil || Refused(err):
		return err
	case l.ctx.Err() != nil:
		return context.Cause(l.ctx)
	case ctx.Err() != nil:
		return err
	}
	l.judged.Do(func() { l.way.ended(err, time.Since(l.began), proven(l.Link), l.f.o) })
	return err
}

// blocked says whether a link has ended because nothing passes: whatever its age is, that is no sign of health.
func blocked(err error) bool {
	return errors.Is(err, ErrSilent) || errors.As(err, new(*ForeignError))
}

// ended counts what the end of a link says of its way. What the controller itself said says nothing.
func (w *way) ended(err error, age time.Duration, proven bool, o FallbackOptions) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := (*Error)(nil)
	switch {
	case proven && age >= o.Stable && !blocked(err):
		w.struck, w.left = 0, 0
	case !errors.As(err, &said):
		if proven && age >= o.Penalty { // it has worked for longer than it would be left: what was before is over
			w.struck, w.left = 0, 0
		}
		if w.struck++; w.struck >= strikes {
			w.struck = 0
			penalty := min(o.Penalty<<w.left, 10*o.Penalty)
			w.left = min(w.left+1, 4)
			w.penalty = time.Now().Add(penalty/2 + rand.N(penalty/2+1))
			o.Log.Warn("transport left for a while", "transport", w.Name, "error", err)
		}
	}
}

func (l *fallbackLink) Close() error {
	l.mu.Lock()
	l.closed = true
	if l.probe != nil {
		l.probe.Stop()
	}
	l.mu.Unlock()
	l.cancel(ErrClosed)
	err := l.Link.Close()
	l.looking.Wait()
	return err
}

// directFallback is the link of a way whose links are Direct.
type directFallback struct {
	*fallbackLink
	direct Direct
}

// Deliver implements Direct. Receive, which waits for the end, judges it.
func (l *directFallback) Deliver(take func([]Delivery)) { l.direct.Deliver(take) }

// ReadOn implements Direct.
func (l *directFallback) ReadOn() { l.direct.ReadOn() }

// Post implements Direct.
func (l *directFallback) Post(acks []ack.Ack, done func(error)) {
	l.direct.Post(acks, func(err error) { done(l.judge(context.Background(), err)) })
}
