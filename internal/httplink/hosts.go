package httplink

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miglink/miglink/internal/printable"
	"github.com/miglink/miglink/transport"
)

// anyHost among the hosts of a Guard allows all.
const anyHost = "*"

// checkHost refuses requests for a host that may be a stranger's, where nobody is asked for credentials. A page at
// http://evil.example whose name comes to mean this server's address (DNS rebinding) is of the same origin for a browser,
// which lets it read everything. Its requests are still for evil.example.
func (g *Guard) checkHost(host string) error {
	if g.Asked || slices.Contains(g.Hosts, anyHost) {
		return nil
	}
	name := hostname(host)
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return nil // no DNS is asked for these
	}
	for _, h := range g.Hosts {
		if name != "" && strings.EqualFold(strings.TrimSuffix(h, "."), name) {
			return nil
		}
	}
	return transport.Errorf(transport.CodeForbidden, "the request is for the host %q, which is not allowed where nobody is asked for credentials: "+
		"use an IP address or localhost, ask for credentials, or allow the name (Options.Hosts; miglink controller --allow-host NAME)", printable.Cut(name, maxShown))
}

// hostname is a Host header without its port, in lower case.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
