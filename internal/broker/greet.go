package broker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// What hellos may cost. Whoever reaches the broker can say any number of them, and name any VM: none of these bounds
// may let a stranger shut a VM out that shows good credentials.
const (
	// maxGreetings and maxGreetingBytes bound the hellos that are being answered at a time. What is beyond them is
	// dropped, and its agent dials again.
	maxGreetings     = 8192
	maxGreetingBytes = 64 << 20
	// maxPerName bounds those of them that name one VM and whose credentials were not looked at yet. Each leaves its
	// place within moments: a flood in a VM's name delays that VM, and nobody else.
	maxPerName = 16
	// maxTries and tryTime bound what refusals cost: signatures that are verified, answers and lines of a log. A hello
	// takes one of maxTries, and gives it back when its link opens, or tryTime after it was refused. So about 2,000 a
	// second are refused, and any number succeed. The others wait for their turn, the first to come first.
	maxTries = 2048
	tryTime  = time.Second
	// maxFailing and failTime are the same for one VM whose credentials are good: only it can spend this, and what it
	// is bounded for is what comes between its credentials and its link, as a claim.
	maxFailing = 100
	failTime   = 10 * time.Second
)

var (
	// errNotOurs is why a hello ends here that another controller answers.
	errNotOurs = errors.New("another controller answers this hello")

	errLate = errors.New("too many hellos are refused for this one to be answered in time")
)

// greetings counts the hellos that are being answered. The zero value counts none.
type greetings struct {
	mu      sync.Mutex
	all     int            // hellos
	bytes   int            // of them
	named   map[string]int // hellos whose credentials were not looked at yet, by the VM that they name
	failing map[string]int // those of VMs with good credentials, that have opened no link, or not yet
	tries   chan struct{}  // holds one for each hello that is looked at, or was refused lately
}

func newGreetings() *greetings {
	return &greetings{named: map[string]int{}, failing: map[string]int{}, tries: make(chan struct{}, maxTries)}
}

// Greeting is the answer to one hello, while it is given.
type Greeting struct {
	g     *greetings
	vm    string
	bytes int

	// of the goroutine that answers
	passed  bool // the credentials are good
	unnamed bool // the place of the name was given back
	failing bool // the VM's place in failing is taken
}

// Greet begins the answer to a hello of so many bytes, which names a VM. Where there are too many it returns nil: the
// hello is to be dropped, without a word. What it returns goes to Serve, or to Drop.
func (s *Server) Greet(vm string, bytes int) *Greeting {
	g := s.greetings
	if bytes > framed.MaxHello {
		bytes = 0 // it is refused, and not kept
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= maxGreetings || g.bytes+bytes > maxGreetingBytes || g.named[vm] >= maxPerName {
		s.Peers.Write(s.ctx, slog.LevelWarn, "refused", "", slog.String("vm_id", vm), slog.String("error", "too many dial at once"))
		return nil
	}
	g.all++
	g.bytes += bytes
	g.named[vm]++
	return &Greeting{g: g, vm: vm, bytes: bytes}
}

// Drop ends a greeting that is not served.
func (r *Greeting) Drop() { r.end(true) }

// try waits for its turn.
func (r *Greeting) try(ctx context.Context) error {
	select {
	case r.g.tries <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errLate
	}
}

// tried gives back what try took: now, or where it was in vain a while later.
func (r *Greeting) tried(vain bool) {
	back := func() { <-r.g.tries }
	if vain {
		time.AfterFunc(tryTime, back)
	} else {
		back()
	}
}

// looked is called when the credentials were looked at, and says whether they are good.
func (r *Greeting) looked(good bool) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.passed = good
	r.leaveName()
}

// leaveName gives the place of the name back. mu is locked.
func (r *Greeting) leaveName() {
	if !r.unnamed {
		r.unnamed = true
		less(r.g.named, r.vm)
	}
}

// enter is called when the credentials are good. Its error says that the VM has failed too often to open a link.
func (r *Greeting) enter() error {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if r.g.failing[r.vm] >= maxFailing {
		e := transport.Errorf(transport.CodeRateLimited, "more than %d dials of this VM within %s have opened no link", maxFailing, failTime)
		e.RetryAfter = failTime / maxFailing
		return e
	}
	r.g.failing[r.vm]++
	r.failing = true
	return nil
}

// end is called once, when the hello was answered: ok says that it opened a link, or is another controller's.
func (r *Greeting) end(ok bool) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.g.all--
	r.g.bytes -= r.bytes
	r.leaveName()
	switch {
	case !r.failing:
	case ok:
		less(r.g.failing, r.vm)
	default:
		time.AfterFunc(failTime, func() {
			r.g.mu.Lock()
			defer r.g.mu.Unlock()
			less(r.g.failing, r.vm)
		})
	}
}

// less counts one less. What counts nothing is not kept, so that the tables are no larger than what goes on.
func less(counts map[string]int, vm string) {
	if counts[vm]--; counts[vm] <= 0 {
		delete(counts, vm)
	}
}

// Hello is what is known of a hello, and what is to be done before it opens a link.
type Hello struct {
	VM string // that it names
	// Credentials are what the broker says of who sent it. Its token is added to them.
	Credentials transport.Credentials
	// Claim says whether this controller is to answer, where several have the hello. It is asked when the credentials
	// were found good, and before the VM's link is opened, which ends the one that it had. Where another answers, or
	// it fails, this controller says nothing. Nil: it is to answer.
	Claim func(context.Context) (bool, error)
}

// CannotTake logs that the broker does not do what the link of a VM needs, whose credentials are good.
func (s *Server) CannotTake(vm string, err error) {
	s.Peers.Write(s.ctx, slog.LevelError, "cannot take a link", vm, slog.Any("error", err))
}

// Senseless logs a hello that does not say whose it is, and so gets no answer.
func (s *Server) Senseless(attrs ...slog.Attr) {
	s.Peers.Write(s.ctx, slog.LevelInfo, "a hello that makes no sense", "", attrs...)
}

// answer answers a hello that p holds: it returns its link, or why there is none.
func (s *Server) answer(r *Greeting, p FailingPipe, h Hello) (session *framed.Session, err error) {
	notOurs := false
	defer func() { r.end(err == nil || notOurs) }()
	waiting, cancel := context.WithTimeout(s.ctx, AnswerTime) // its agent has given up then
	defer cancel()
	if err := r.try(waiting); err != nil {
		p.Fail(err)
		p.Close()
		return nil, err
	}
	defer func() { r.tried(err != nil && !notOurs) }()
	return framed.Accept(s.ctx, p, s.t, framed.ServeOptions{
		Name: s.o.Name, VM: h.VM, Keepalive: s.o.Keepalive,
		Authenticate: func(ctx context.Context, vm, token string) (transport.Grant, error) {
			ctx, cancel := context.WithTimeout(ctx, AnswerTime)
			defer cancel()
			h.Credentials.Token = token
			grant, err := s.door.Enter(ctx, vm, h.Credentials)
			r.looked(err == nil)
			if err == nil {
				err = r.enter()
			}
			if err != nil || h.Claim == nil {
				return grant, err
			}
			ours, err := h.Claim(ctx)
			if err != nil {
				s.CannotTake(vm, err)
			} else if !ours {
				notOurs, err = true, errNotOurs
			}
			if err != nil {
				p.Fail(err) // without a goodbye: whoever answers would be taken for gone
			}
			return grant, err
		},
	})
}
