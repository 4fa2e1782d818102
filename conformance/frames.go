package conformance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Frames is a conversation with the server half as a client in another language would have it, by hand: each
// message is one frame of PROTOCOL.md as JSON, or what is none. A transport of other bytes translates what it
// can, and sends the rest as it is.
type Frames interface {
	// Send sends one message. Its error is ignored: Recv says that the conversation has ended.
	Send(b []byte) error
	// Recv blocks for the next message. Any error is the end, without a reason but that of a frame before it.
	Recv() ([]byte, error)
	// Close unblocks Recv. It may be called more than once.
	Close() error
}

// BytesResults is implemented by the Frames of a transport whose acks can hold a result that is no JSON, since its messages
// are not JSON themselves.
type BytesResults interface {
	// SendResult sends frame n: an ack that a command has succeeded, with a result.
	SendResult(n int, commandID string, result []byte) error
}

// SpeakFrames is for Open of a subject with the fact Frames: open begins a conversation as a VM, with
// Env.Token where that goes with the connection, and without a hello.
func (e *Env) SpeakFrames(open func(vm string) (Frames, error)) { e.frames = open }

// talk is a conversation by hand.
type talk struct {
	Frames
	w  *World
	vm string
	in chan heard

	mu sync.Mutex
	n  int // of the last frame that say sent

	writing sync.Mutex
	open    bool // there was a welcome
	before  int  // what was open when the conversation began, where refusals are untold
}

// heard is a frame of the controller, as a client in another language would read it.
type heard struct {
	Welcome *struct {
		Version int `json:"version"`
	} `json:"welcome"`
	Commands []struct {
		ID string `json:"id"`
	} `json:"commands"`
	Recorded *struct {
		Upto    int   `json:"upto"`
		Refused []any `json:"refused"`
	} `json:"recorded"`
	Taken *struct {
		Of int `json:"of"`
	} `json:"taken"`
	Ping  bool `json:"ping"`
	Pong  bool `json:"pong"`
	Close *struct {
		Code string `json:"code"`
	} `json:"close"`

	end error // there was no frame: the conversation has ended
}

// muchHeard is more than any scenario has to hear.
const muchHeard = 4096

func (w *World) talk(vm string) *talk {
	w.check(w.env.frames != nil, "the subject has the fact Frames, and its Open does not call Env.SpeakFrames")
	f, err := w.env.frames(vm)
	w.ok(err, "begin a conversation")
	t := &talk{Frames: f, w: w, vm: vm, in: make(chan heard, muchHeard)}
	var listening sync.WaitGroup
	listening.Go(t.listen)
	w.env.Cleanup(func() {
		f.Close()
		listening.Wait()
	})
	if w.subject.Facts.Untold {
		t.before = w.countOpened()
	}
	return t
}

func (t *talk) listen() {
	for {
		b, err := t.Recv()
		var h heard
		if err == nil && json.Unmarshal(b, &h) != nil {
			err = fmt.Errorf("the controller said %q", b)
		}
		h.end = err
		if h.Ping {
			t.say(`"pong":true`)
			continue
		}
		select {
		case t.in <- h:
		default:
			return // nobody listens to that much
		}
		if err != nil {
			return
		}
	}
}

// raw sends what it is given.
func (t *talk) raw(b string) {
	t.writing.Lock() // pings are answered meanwhile
	defer t.writing.Unlock()
	_ = t.Send([]byte(b))
}

// say sends the next frame, and returns its number.
func (t *talk) say(fields string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	t.raw(fmt.Sprintf(`{"n":%d,%s}`, t.n, fields))
	return t.n
}

// number is that of a frame that is sent otherwise.
func (t *talk) number() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	return t.n
}

// recorded hears until the acks of a frame are answered.
func (t *talk) recorded(n int) heard {
	for {
		h := t.hear()
		if h.end != nil || h.Close != nil {
			t.w.fail("the acks of frame %d are answered with the end of the link: %+v", n, h)
		}
		if h.Recorded != nil && h.Recorded.Upto >= n {
			return h
		}
	}
}

// sayAs sends a frame whose number is so far from that of the last.
func (t *talk) sayAs(further int, fields string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.raw(fmt.Sprintf(`{"n":%d,%s}`, t.n+further, fields))
}

// helloOf is a frame's hello, with a token for those who look for one there.
func (t *talk) helloOf(vm, version, more string) string {
	return fmt.Sprintf(`"hello":{"version":%s,"vm_id":%q,"instance":"by-hand","token":%q%s}`, version, vm, t.w.env.credentials.shown(), more)
}

func (t *talk) hello() string { return t.helloOf(t.vm, "1", "") }

// greet is a handshake that succeeds.
func (t *talk) greet() *talk {
	t.say(t.hello())
	t.welcomed()
	return t
}

func (t *talk) welcomed() {
	h := t.hear()
	t.w.check(h.Welcome != nil && h.Welcome.Version == 1, "the hello is answered with %+v", h)
	t.open = true
}

// hear returns the next frame that is no ping, or the end.
func (t *talk) hear() heard {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case h := <-t.in:
		return h
	case <-late.C:
		t.w.fail("nothing is heard of the controller")
		return heard{}
	}
}

// untold says whether what was said is to be refused without a word.
func (t *talk) untold() bool { return !t.open && t.w.subject.Facts.Untold }

// over waits for the end, and returns the code that was given for it. A hello that is refused without a word has no end:
// it waits a while for one.
func (t *talk) over(after string) (code string) {
	if t.untold() {
		t.w.nothingComesOf(t.vm, t.before, func() {
			select {
			case h := <-t.in:
				t.w.fail("after %.60s: heard %+v, want nothing", after, h)
			case <-time.After(quiet):
			}
		})
		return ""
	}
	for {
		h := t.hear()
		if h.end != nil {
			return code
		}
		if h.Close != nil {
			t.w.check(code == "", "after %.60s: a second close", after)
			code = h.Close.Code
		}
	}
}

// refused waits for the end, and wants one of the codes for it.
func (t *talk) refused(after string, codes ...string) {
	if t.untold() {
		t.over(after)
		return
	}
	code := t.over(after)
	t.w.check(slices.Contains(codes, code), "after %.60s the link ends with the code %q, want %s", after, code, strings.Join(codes, " or "))
}
