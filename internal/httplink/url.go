// Package httplink is what the HTTP transports have in common on the wire: URLs, the query of a
// hello, bearer tokens, and problem documents (RFC 9457) that carry transport errors.
package httplink

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
)

const defaultPath = "/api/v1"

// ParseBase reads the URL of a controller. Without a path, /api/v1 is meant.
func ParseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error would quote a password.
		return nil, errors.New("the controller's URL does not parse; it is to be like http://host:port")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the controller's URL %q is neither http:// nor https://", u.Redacted())
	case u.Host == "":
		return nil, fmt.Errorf("the controller's URL %q has no host", u.Redacted())
	case u.User != nil:
		return nil, errors.New("the controller's URL holds credentials; use a token source")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the controller's URL %q has a query or a fragment", u)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.Path == "" {
		u.Path = defaultPath
	}
	u.RawPath = ""
	return u, nil
}

// Base is ParseBase for a client that means to use the URL so.
func Base(raw string, u secure.Use) (*url.URL, error) {
	base, err := ParseBase(raw)
	if err == nil {
		err = secure.Check(raw, u)
	}
	if err != nil {
		return nil, err
	}
	return base, nil
}

// UseOf is what a Config wants of a URL.
func UseOf(c transport.Config) secure.Use {
	return secure.Use{TLS: c.TLS != nil, Token: c.Token != nil, Insecure: c.Insecure}
}

// VMURL is base/vms/{vm}/elem…; any VM name stays one segment, as Segment has it.
func VMURL(base *url.URL, vm string, elem ...string) *url.URL {
	u := *base
	tail := "/vms/" + Segment(vm) + "/" + strings.Join(elem, "/")
	u.RawPath = base.EscapedPath() + tail
	u.Path = base.Path + tail
	return &u
}

// VM is the path value vm_id of a request, validated.
func VM(r *http.Request) (string, error) {
	vm, err := PathValue(r, "vm_id")
	if err != nil {
		return "", err
	}
	return vm, transport.ValidateVM(vm)
}

// timeFormat is RFC 3339 in milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// maxAlive bounds what an agent may promise; a longer promise is worth nothing.
const maxAlive = 10 * time.Minute

// Query is a hello as query parameters, to be sent now; the VM is in the path.
func Query(h transport.Hello) url.Values {
	q := url.Values{}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	set("after", string(h.After))
	set("instance", h.Instance)
	set("via", h.Via)
	if h.Stamp(); !h.Time.IsZero() {
		q.Set("time", h.Time.Format(timeFormat))
	}
	if h.Window > 0 {
		q.Set("window", strconv.Itoa(h.Window))
	}
	if h.Alive > 0 {
		q.Set("alive", h.Alive.String())
	}
	return q
}

// Hello reads a hello from the path and the query. What makes no sense is an error, but for the
// cursor: any cursor may be asked for.
func Hello(r *http.Request) (transport.Hello, error) {
	vm, err := VM(r)
	if err != nil {
		return transport.Hello{}, err
	}
	q := r.URL.Query()
	h := transport.Hello{VM: vm, Instance: q.Get("instance"), After: transport.Cursor(q.Get("after")), Via: q.Get("via")}
	if len(h.Instance) > transport.MaxVM || len(h.Via) > transport.MaxVM || len(h.After) > transport.MaxCursor {
		return h, transport.Errorf(transport.CodeInvalid, "a query parameter is longer than %d bytes", transport.MaxVM)
	}
	if s := q.Get("time"); s != "" {
		if h.Time, err = time.Parse(time.RFC3339, s); err != nil {
			return h, transport.Errorf(transport.CodeInvalid, "time is not a time as 2006-01-02T15:04:05Z")
		}
	}
	if s := q.Get("window"); s != "" {
		if h.Window, err = strconv.Atoi(s); err != nil || h.Window < 1 {
			return h, transport.Errorf(transport.CodeInvalid, "window is not a positive number")
		}
	}
	if s := q.Get("alive"); s != "" {
		if h.Alive, err = time.ParseDuration(s); err != nil || h.Alive < time.Second || h.Alive > maxAlive {
			return h, transport.Errorf(transport.CodeInvalid, "alive is not a duration between 1s and %s", maxAlive)
		}
	}
	return h, nil
}
