package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

const (
	requestTimeout = 30 * time.Second
	maxNotice      = 1 << 20  // bytes
	maxAnswer      = 64 << 20 // bytes; a page of a list has 4 MiB, and more only where one element has
)

// What is known of a request that failed, and to which the controller has said nothing. Errors of a Client wrap at most one
// of them.
var (
	// ErrUnreachable says that the request was not sent: nothing was done.
	ErrUnreachable = errors.New("the controller cannot be reached")
	// ErrUnanswered says that it was sent, or may have been, and that its answer was lost: what it asked for may have been
	// done, or be done yet. A send with an ID, and a cancel, may be repeated.
	ErrUnanswered = errors.New("no answer of the controller")
)

// outcome is an error that is one of those, and keeps its own words.
type outcome struct {
	error
	is error
}

func (o outcome) Is(target error) bool { return target == o.is }
func (o outcome) Unwrap() error        { return o.error }

// Client speaks to a Handler. Errors that the controller said are of type *transport.Error, those of requests of which
// nothing was heard wrap ErrUnreachable or ErrUnanswered.
type Client struct {
	base   string
	client *http.Client
	token  transport.TokenSource
}

// NewClient returns a client for the API at url, as in http://127.0.0.1:8080/admin/v1. The fields of
// config other than TLS, Token and Insecure are not used. A TLS for http:// is an error, and so is a token that would go in
// the clear to another machine, unless Insecure says that it may.
func NewClient(url string, config transport.Config) (*Client, error) {
	base, err := httplink.Base(url, httplink.UseOf(config))
	if err != nil {
		return nil, err
	}
	return &Client{base: base.String(), client: httplink.NewClient(config.TLS), token: config.Token}, nil
}

// Send sends a command. Give it an ID to be able to repeat it where the answer is lost.
func (c *Client) Send(ctx context.Context, s Send) (Status, error) {
	// The ID is another's where the idempotency key is.
	return c.status(ctx, http.MethodPost, "/commands", s, func(got Status) bool { return got.VM == s.VM })
}

// Get returns the status of a command.
func (c *Client) Get(ctx context.Context, id string) (Status, error) {
	return c.status(ctx, http.MethodGet, "/commands/"+httplink.Segment(id), nil, is(id))
}

// Wait returns the status of a command once it is settled, or as it is when ctx ends, with ctx's
// error.
func (c *Client) Wait(ctx context.Context, id string) (Status, error) {
	var latest Status
	for {
		wait := 20 * time.Second
		if deadline, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(deadline)-50*time.Millisecond) // leaves time for the answer
		}
		path := "/commands/" + httplink.Segment(id)
		if wait > 0 {
			path += "?wait=" + wait.String()
		}
		s, err := c.status(ctx, http.MethodGet, path, nil, is(id))
		if err != nil {
			if ctx.Err() != nil {
				return latest, ctx.Err()
			}
			return latest, err
		}
		if latest = s; s.Settled {
			return s, nil
		}
		if wait <= 0 {
			return s, context.DeadlineExceeded
		}
	}
}

// Cancel asks for a command to be cancelled.
func (c *Client) Cancel(ctx context.Context, id, reason string) (Status, error) {
	return c.status(ctx, http.MethodPost, "/commands/"+httplink.Segment(id)+"/cancel", map[string]string{"reason": reason}, is(id))
}

// List returns up to limit commands of a VM, newest first, in as many requests as that takes; before as in
// Controller.List.
func (c *Client) List(ctx context.Context, vm string, before uint64, limit int) ([]Status, error) {
	var list []Status
	for {
		asked := min(limit-len(list), maxList)
		q := url.Values{"limit": {strconv.Itoa(asked)}}
		if before > 0 {
			q.Set("before", strconv.FormatUint(before, 10))
		}
		var out struct {
			Commands []Status `json:"commands"`
			More     bool     `json:"more"`
			Before   uint64   `json:"before"`
		}
		if err := c.call(ctx, http.MethodGet, "/vms/"+httplink.Segment(vm)+"/commands?"+q.Encode(), nil, &out, func() bool { return out.Commands != nil }); err != nil {
			return nil, err
		}
		list = append(list, out.Commands...)
		next := out.Before
		if n := len(out.Commands); !out.More && n == asked && n > 0 { // there may be more than one request may ask for
			next = out.Commands[n-1].Seq
		}
		// One that leads nowhere would be asked for without end.
		if len(list) >= limit || next == 0 || before > 0 && next >= before {
			return list, nil
		}
		before = next
	}
}

// Watch yields notices until ctx ends or the stream does, with an error that wraps ErrUnanswered if the stream had begun. An
// empty vm is all of them.
func (c *Client) Watch(ctx context.Context, vm string) iter.Seq2[Notice, error] {
	return func(yield func(Notice, error) bool) {
		path := "/watch"
		if vm != "" {
			path += "?" + url.Values{"vm_id": {vm}}.Encode()
		}
		resp, err := c.do(ctx, http.MethodGet, path, nil)
		if err != nil {
			yield(Notice{}, err)
			return
		}
		defer resp.Body.Close()
		if err := httplink.CheckStream(resp); err != nil {
			yield(Notice{}, err)
			return
		}
		for e, err := range sse.Read(resp.Body, &sse.ReadConfig{MaxEventSize: maxNotice}) {
			var n Notice
			switch {
			case err != nil:
				err = outcome{fmt.Errorf("the stream broke off: %w", err), ErrUnanswered}
			case e.Type == typeClose:
				err = outcome{reason(e.Data), ErrUnanswered}
			default:
				err = json.Unmarshal([]byte(e.Data), &n)
			}
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
		if ctx.Err() == nil {
			yield(Notice{}, outcome{errors.New("the controller ended the stream"), ErrUnanswered})
		}
	}
}

// reason is the error of a close event.
func reason(data string) error {
	var c closing
	if err := json.Unmarshal([]byte(data), &c); err != nil || c.Code == "" {
		return errors.New("the controller ended the stream, and its reason does not decode")
	}
	return transport.PeerError(c.Code, c.Message, 0)
}

// status calls an endpoint that answers with the status of a command, of the one that was asked about.
func (c *Client) status(ctx context.Context, method, path string, in any, asked func(Status) bool) (Status, error) {
	var s Status
	if err := c.call(ctx, method, path, in, &s, func() bool { return s.ID != "" && asked(s) }); err != nil {
		return Status{}, err
	}
	return s, nil
}

func is(id string) func(Status) bool { return func(s Status) bool { return s.ID == id } }

// call decodes the answer of success. Ours says whether it is then one of our server, which any other JSON would decode
// as well.
func (c *Client) call(ctx context.Context, method, path string, in, out any, ours func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer httplink.Drain(resp.Body)
	if err := httplink.CheckJSON(resp); err != nil {
		return outcome{err, ErrUnanswered}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return outcome{fmt.Errorf("the answer broke off: %w", err), ErrUnanswered}
	}
	if json.Unmarshal(b, out) != nil || !ours() {
		return outcome{httplink.Foreign(resp, "it is not what was asked for"), ErrUnanswered}
	}
	return nil
}

// do returns an answer of success; its body is the caller's to close.
func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	route, _, _ := strings.Cut(path, "?")
	for name := range strings.SplitSeq(strings.TrimPrefix(route, "/"), "/") {
		if name == "" || name == "." || name == ".." { // a path would lose it
			return nil, transport.Errorf(transport.CodeInvalid, "%q names no VM and no command", name)
		}
	}
	var body []byte
	if in != nil {
		var err error
		if body, err = wirejson.Marshal(in); err != nil {
			return nil, err
		}
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaderField: func(string, []string) { sent.Store(true) }})
	req, err := http.NewRequestWithContext(traced, method, c.base+path, bytes.NewReader(body))
	if err == nil {
		if in != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		err = httplink.Authorize(ctx, req.Header, c.token)
	}
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	switch at := strings.TrimSuffix(c.base, "/"); {
	case err != nil && sent.Load():
		return nil, outcome{fmt.Errorf("no answer from the controller at %s: %w", at, httplink.Cause(err)), ErrUnanswered}
	case err != nil:
		return nil, outcome{fmt.Errorf("cannot reach the controller at %s: %w", at, httplink.Cause(err)), ErrUnreachable}
	case resp.StatusCode/100 == 2:
		return resp, nil
	}
	defer httplink.Drain(resp.Body)
	p, err := httplink.ReadProblem(resp)
	switch {
	case err == nil:
		return nil, p.Err()
	case resp.StatusCode >= http.StatusInternalServerError: // something in between may have passed it on
		return nil, outcome{err, ErrUnanswered}
	}
	return nil, err
}
