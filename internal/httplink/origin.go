package httplink

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/miglink/miglink/internal/printable"
	"github.com/miglink/miglink/transport"
)

// maxShown bounds what an error repeats of a request's header, in bytes.
const maxShown = 128

// protection knows which requests with an effect are of a page elsewhere. Its zero value trusts nobody.
var protection http.CrossOriginProtection

// checkOrigin refuses what a browser sends for a page that is not the controller's own, and it has none. Whoever looks at
// such a page is often inside the network that the controller relies on, and has a client certificate that the browser
// shows by itself.
func (g *Guard) checkOrigin(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	if !safe(r.Method) {
		if protection.Check(r) != nil {
			return foreign("Sec-Fetch-Site: " + site + ", Origin: " + r.Header.Get("Origin"))
		}
		return nil
	}
	// CrossOriginProtection lets these pass, but here a GET may take a VM's place.
	switch site {
	case "same-origin", "none": // none is somebody who types the address
		return nil
	case "":
	default:
		return foreign("Sec-Fetch-Site: " + site)
	}
	// Old browsers, and all of them over http:// to another machine, say less of where a request is from.
	for _, name := range []string{"Origin", "Referer"} {
		if from := r.Header.Get(name); from != "" {
			if u, err := url.Parse(from); err != nil || !strings.EqualFold(u.Host, r.Host) {
				return foreign(name + ": " + from)
			}
			return nil
		}
	}
	// An image of a page that hides itself has neither. No page can have it sent with a token, or without these two.
	if g.Agents && strings.HasPrefix(r.UserAgent(), "Mozilla/") && r.Header.Get("Accept-Language") != "" && r.Header.Get("Authorization") == "" {
		return transport.Errorf(transport.CodeForbidden, "this endpoint is for agents, and the request is a browser's that does not say for which page")
	}
	return nil
}

func foreign(why string) error {
	return transport.Errorf(transport.CodeForbidden, "a page of another origin has a browser send this (%s), and no page may", printable.Cut(why, maxShown))
}

// safe reports whether a method is for requests that only read.
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return false
}
