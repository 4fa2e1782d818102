package secure

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Way is how something is reached, as its URL says.
type Way struct {
	Scheme  string
	Host    string // without a port
	Port    string // empty: the usual one
	TLS     bool   // nothing goes over it but by TLS
	Local   bool   // it does not leave this machine
	Instead string // the scheme that speaks TLS to the same place; empty: there is none
	// Raises means that a configuration of TLS makes this scheme speak TLS and nothing else.
	Raises bool
}

// schemes say what each that this library knows means.
var schemes = map[string]Way{
	"https": {TLS: true}, "wss": {TLS: true}, "tls": {TLS: true}, "rediss": {TLS: true}, "amqps": {TLS: true},
	"http": {Instead: "https"}, "ws": {Instead: "wss"}, "redis": {Instead: "rediss"}, "amqp": {Instead: "amqps"},
	"nats": {Instead: "tls", Raises: true},
	"unix": {Local: true},
}

// Parse returns the ways of a URL, or of several with commas, as NATS has them. What it cannot read has no scheme, and is
// refused by who dials it.
func Parse(raw string) []Way {
	var ways []Way
	for one := range strings.SplitSeq(raw, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		var w Way
		known := false
		if err == nil {
			w, known = schemes[u.Scheme]
		}
		if !known {
			ways = append(ways, Way{})
			continue
		}
		w.Scheme, w.Host, w.Port = u.Scheme, u.Hostname(), u.Port()
		// Without a host the libraries of brokers dial this machine.
		w.Local = w.Local || Loopback(w.Host) || w.Host == "" && (w.Scheme == "redis" || w.Scheme == "amqp")
		ways = append(ways, w)
	}
	return ways
}

// Loopback says whether a host of a URL is this machine: an address of the loopback, localhost, or a name below it. What
// any other name stands for is up to whoever answers for it.
func Loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Use is what somebody wants of a way.
type Use struct {
	TLS      bool // a configuration of TLS is given for it
	Token    bool // a bearer token goes over it
	Insecure bool // and may be read by who is in between
}

// Check says why a use cannot be: what was asked for would silently not be done, or a secret would be there to be read.
func (w Way) Check(u Use) error {
	encrypted := w.TLS || w.Raises && u.TLS
	switch {
	case w.Scheme == "": // who dials it refuses it
		return nil
	case !goodPort(w.Port): // or it would be dialled for ever
		return fmt.Errorf("the port %s of %s://%s is none: 1 to 65535 are", w.Port, w.Scheme, w.Host)
	case u.TLS && !encrypted && w.Instead == "":
		return fmt.Errorf("%s:// speaks no TLS: a configuration of TLS (--ca, --cert) is of no use with it", w.Scheme)
	case u.TLS && !encrypted:
		return fmt.Errorf("%s://%s speaks no TLS, and a configuration of TLS (--ca, --cert) is given: use %s://", w.Scheme, w.Host, w.Instead)
	case u.Token && !encrypted && !w.Local && !u.Insecure:
		return fmt.Errorf("a token would go to %s in the clear by %s://: use %s://, or say that it may be read on the way (--insecure)", w.Host, w.Scheme, w.Instead)
	}
	return nil
}

// goodPort reports whether a port of a URL, which are digits, can be dialled; "" is the usual one.
func goodPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// Check is Way.Check for each way of a URL.
func Check(raw string, u Use) error {
	for _, w := range Parse(raw) {
		if err := w.Check(u); err != nil {
			return err
		}
	}
	return nil
}

// WarnPassword warns where the password of a broker can be read on the way to it. It is no error: networks that nobody
// else is on are common for brokers. A nil log gets nothing.
func WarnPassword(log *slog.Logger, w Way, password bool) {
	if log != nil && password && !w.TLS && !w.Local {
		log.Warn("the broker's password goes over the network in the clear", "host", w.Host, "scheme", w.Scheme, "use", w.Instead+"://")
	}
}

// HasPassword says whether a URL holds one, or one of several with commas.
func HasPassword(raw string) bool {
	for one := range strings.SplitSeq(raw, ",") {
		if u, err := url.Parse(strings.TrimSpace(one)); err == nil && u.User != nil {
			if _, has := u.User.Password(); has {
				return true
			}
		}
	}
	return false
}
