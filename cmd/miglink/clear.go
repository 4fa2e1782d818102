package main

import (
	"net"

	"github.com/miglink/miglink/internal/secure"
)

// insecure is the flag of whoever shows a token.
type insecure struct {
	Insecure bool `help:"Let the token go in the clear (http, nats, redis or amqp without TLS) to another machine, where whoever is in between can read it and use it."`
}

// checkClear refuses a controller whose agents' and operators' tokens would come in the clear over a network, and flags of
// TLS that no broker would use.
func (c *controllerCmd) checkClear() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usage("--listen: %w", err)
	}
	tokens := c.Keys != "" || c.OIDCIssuer != ""
	if tokens && c.TLSCert == "" && !c.Insecure && !secure.Loopback(host) {
		return usage("--listen %s can be reached by others, and tokens would come there in the clear: give --tls-cert and --tls-key, or say --insecure where something in front of it speaks TLS", c.Listen)
	}
	given := c.brokerTLSFlags != (brokerTLSFlags{})
	used := false
	for flag, url := range map[string]string{"--nats": c.NATS, "--redis": c.Redis, "--amqp": c.AMQP} {
		if url == "" {
			continue
		}
		used = true
		if err := secure.Check(url, secure.Use{TLS: given, Token: tokens, Insecure: c.Insecure}); err != nil {
			return usage("%s: %w", flag, err)
		}
	}
	if given && !used {
		return usage("--broker-ca, --broker-cert and --broker-key are for --nats, --redis and --amqp: nothing else uses them")
	}
	return nil
}
