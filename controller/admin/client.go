package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

const (
	requestTimeout = 30 * time.Second
	maxNotice      = 1 << 20
)

// Client speaks to a Handler. Errors that the controller said are of type *transport.Error.
type Client struct {
	base   string
	client *http.Client
	token  transport.TokenSource
}

// NewClient returns a client for the API at url, as in http://127.0.0.1:8080/admin/v1. The fields of
// config other than TLS and Token are not used.
func NewClient(url string, config transport.Config) (*Client, error) {
	base, err := httplink.ParseBase(url)
	if err != nil {
		return nil, err
	}
	return &Client{base: base.String(), client: httplink.NewClient(config.TLS), token: config.Token}, nil
}

// Send sends a command.
func (c *Client) Send(ctx context.Context, s Send) (Status, error) {
	var out Status
	err := c.call(ctx, http.MethodPost, "/commands", s, &out)
	return out, err
}

// Get returns the status of a command.
func (c *Client) Get(ctx context.Context, id string) (Status, error) {
	var out Status
	err := c.call(ctx, http.MethodGet, "/commands/"+url.PathEscape(id), nil, &out)
	return out, err
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
		path := "/commands/" + url.PathEscape(id)
		if wait > 0 {
			path += "?wait=" + wait.String()
		}
		var s Status
		if err := c.call(ctx, http.MethodGet, path, nil, &s); err != nil {
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
	var out Status
	err := c.call(ctx, http.MethodPost, "/commands/"+url.PathEscape(id)+"/cancel", map[string]string{"reason": reason}, &out)
	return out, err
}

// Fleet returns every VM that is known.
func (c *Client) Fleet(ctx context.Context) ([]controller.Presence, error) {
	var out struct {
		VMs []controller.Presence `json:"vms"`
	}
	err := c.call(ctx, http.MethodGet, "/vms", nil, &out)
	return out.VMs, err
}

// List returns up to limit commands of a VM, newest first; before as in Controller.List.
func (c *Client) List(ctx context.Context, vm string, before uint64, limit int) ([]Status, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before > 0 {
		q.Set("before", strconv.FormatUint(before, 10))
	}
	var out struct {
		Commands []Status `json:"commands"`
	}
	err := c.call(ctx, http.MethodGet, "/vms/"+url.PathEscape(vm)+"/commands?"+q.Encode(), nil, &out)
	return out.Commands, err
}

// Watch yields notices until ctx ends or the stream does. An empty vm is all of them.
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
		for e, err := range sse.Read(resp.Body, &sse.ReadConfig{MaxEventSize: maxNotice}) {
			var n Notice
			switch {
			case err != nil:
			case e.Type == typeClose:
				err = reason(e.Data)
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
			yield(Notice{}, errors.New("the controller ended the stream"))
		}
	}
}

// reason is the error of a close event.
func reason(data string) error {
	var c closing
	if err := json.Unmarshal([]byte(data), &c); err != nil || c.Code == "" {
		return errors.New("the controller ended the stream, and its reason does not decode")
	}
	return &transport.Error{Code: c.Code, Message: c.Message}
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer httplink.Drain(resp.Body)
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the answer is not that of a controller: %w", err)
	}
	return nil
}

// do returns an answer of success; its body is the caller's to close.
func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = wirejson.Marshal(in); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err == nil {
		err = httplink.Authorize(ctx, req.Header, c.token)
	}
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the controller at %s: %w", strings.TrimSuffix(c.base, "/"), httplink.Cause(err))
	}
	if resp.StatusCode/100 != 2 {
		defer httplink.Drain(resp.Body)
		return nil, httplink.ReadError(resp)
	}
	return resp, nil
}
