// Package subjects is the transports of this module as conformance subjects.
package subjects

import (
	"time"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// keepalive is short, so that scenarios of dead peers take no minutes.
const keepalive = 300 * time.Millisecond

// All are no transport at all, each transport, and what they compose to.
func All() []conformance.Subject {
	return []conformance.Subject{InProcess(), WebSocket(), SSE(), LongPoll(), Fallback(), Split(), Relay()}
}

// InProcess is the controller dialled directly.
func InProcess() conformance.Subject {
	return conformance.Subject{
		Name:  "in-process",
		Facts: conformance.Facts{NoWire: true},
		Open: func(_ *conformance.Env, c transport.Transport) (transport.Transport, error) {
			return c, nil
		},
	}
}

// WebSocket is transport/ws.
func WebSocket() conformance.Subject { return overHTTP("ws", conformance.Facts{}, openWS) }

// SSE is transport/sse.
func SSE() conformance.Subject { return overHTTP("sse", conformance.Facts{}, openSSE) }

// LongPoll is transport/longpoll.
func LongPoll() conformance.Subject {
	return overHTTP("longpoll", conformance.Facts{Polls: true}, openLongPoll)
}

// Fallback is the three, in that order.
func Fallback() conformance.Subject {
	return overHTTP("fallback", conformance.Facts{DialsPerAttempt: 3}, func(url string) (transport.Transport, error) {
		ways := []transport.Way{{Name: "ws"}, {Name: "sse"}, {Name: "longpoll"}}
		for i, open := range []func(string) (transport.Transport, error){openWS, openSSE, openLongPoll} {
			var err error
			if ways[i].Transport, err = open(url); err != nil {
				return nil, err
			}
		}
		return transport.NewFallback(transport.FallbackOptions{Stable: time.Millisecond}, ways...), nil
	})
}

// Split has commands down by SSE and acks up by WebSocket.
func Split() conformance.Subject {
	return overHTTP("split", conformance.Facts{}, func(url string) (transport.Transport, error) {
		down, err := openSSE(url)
		if err != nil {
			return nil, err
		}
		up, err := openWS(url)
		if err != nil {
			return nil, err
		}
		return transport.Split(down, up), nil
	})
}

// Relay is an edge that takes SSE, in front of a controller that is reached by WebSocket.
func Relay() conformance.Subject {
	return conformance.Subject{
		Name: "relay",
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			inner, err := env.ServeHTTP(web.Handler(c, web.Options{Keepalive: keepalive}))
			if err != nil {
				return nil, err
			}
			hop, err := openWS(inner)
			if err != nil {
				return nil, err
			}
			edge, err := env.ServeHTTP(web.Handler(hop, web.Options{Keepalive: keepalive}))
			if err != nil {
				return nil, err
			}
			return openSSE(edge)
		},
	}
}

func overHTTP(name string, f conformance.Facts, open func(url string) (transport.Transport, error)) conformance.Subject {
	return conformance.Subject{
		Name:  name,
		Facts: f,
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			url, err := env.ServeHTTP(web.Handler(c, web.Options{Keepalive: keepalive}))
			if err != nil {
				return nil, err
			}
			return open(url)
		},
	}
}

func openWS(url string) (transport.Transport, error) { return ws.New(url, ws.Options{}) }

func openSSE(url string) (transport.Transport, error) {
	return sse.New(url, sse.Options{Keepalive: keepalive})
}

func openLongPoll(url string) (transport.Transport, error) {
	return longpoll.New(url, longpoll.Options{Wait: keepalive, Grace: 2 * keepalive})
}
