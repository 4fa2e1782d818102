package httplink

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/miglink/miglink/transport"
)

// Limits of time of a request. SECURITY.md has them.
const (
	bodyTimeout   = 30 * time.Second // for a body to arrive
	leftTimeout   = time.Second      // for what is left of a body once its request is answered
	answerTimeout = 15 * time.Second // for an answer of a few bytes to be taken
)

// smallBody is how much of a body net/http may read, in bytes, to keep the connection of a request that was answered
// without it.
const smallBody = 64 << 10

// body is the body of a request over HTTP/1. After the handler net/http reads what is left of it, up to 256 KiB, and
// sets no deadline for that.
type body struct {
	io.ReadCloser
	ended   bool        // it was read to its end
	failed  bool        // or it cannot be
	closing http.Header // says that the connection ends with the answer, unless the body is read; may be nil
}

// follow returns a request of which the body is followed. It is a copy: net/http looks at the body of the request that it
// has made.
func follow(r *http.Request) (*http.Request, *body) {
	if b, ok := r.Body.(*body); ok { // by the server, or by the guard of who mounts us
		return r, b
	}
	b := &body{ReadCloser: r.Body}
	r = r.WithContext(r.Context())
	r.Body = b
	return r, b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		b.ended = true
		if b.closing != nil {
			b.closing.Del("Connection")
			b.closing = nil
		}
	case err != nil:
		b.failed = true
	}
	return n, err
}

// closeUnlessRead has the answer be the last of its connection, and sent at once, unless the body is read before: a
// large one, and one whose size is not known, would else have to arrive first.
func (b *body) closeUnlessRead(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if b.ended || b.closing != nil || 0 < r.ContentLength && r.ContentLength <= smallBody || closes(h) {
		return
	}
	h.Set("Connection", "close")
	b.closing = h
}

// leave is called when the request is answered. What is left of its body has to arrive soon, or the connection ends.
func (b *body) leave(w http.ResponseWriter) {
	if b.ended || hijacked(w) {
		return
	}
	left := leftTimeout
	if b.failed { // its time is over, or it makes no sense
		left = 0
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(left)) // not all can
}

// hijacked reports whether a handler that has returned has taken its connection over.
func hijacked(w http.ResponseWriter) bool {
	_, err := w.Write(nil) // nothing is written that would not be, too, when the handler has returned
	return errors.Is(err, http.ErrHijacked)
}

// Unread returns h with a bound for the bodies that it does not read: they have to arrive within a second after it has
// returned, or their connection ends. It bounds nothing while h runs, and so is for handlers of others, too.
func Unread(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.ProtoMajor >= 2:
			h.ServeHTTP(w, r)
			// The rest of an answer is not kept for a peer that gives no room for it.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
		case r.ContentLength == 0:
			h.ServeHTTP(w, r)
		default:
			r, b := follow(r)
			defer b.leave(w)
			h.ServeHTTP(w, r)
		}
	})
}

// checkNoBody refuses a GET with a body, of which nothing would be made (RFC 9110, section 9.3.1): over HTTP/1.1 it
// would be taken for what comes after the request. One that turns out to be empty is none.
func checkNoBody(w http.ResponseWriter, r *http.Request) error {
	if !safe(r.Method) || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength < 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(leftTimeout)) // not all can
		if n, err := r.Body.Read(make([]byte, 1)); n == 0 && errors.Is(err, io.EOF) {
			return nil
		}
	}
	return transport.Errorf(transport.CodeInvalid, "a %s has no body here; send what there is to say as a POST", r.Method)
}

// ReadBody reads the body of a request, of at most MaxBody bytes. Its Guard has set the time for it.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	all, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	switch {
	case err == nil:
		return all, nil
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, transport.Errorf(transport.CodeTooLarge, "the body is larger than %d bytes", MaxBody)
	}
	return nil, transport.Errorf(transport.CodeInvalid, "the body did not arrive within %s of its header, or breaks off", bodyTimeout)
}
