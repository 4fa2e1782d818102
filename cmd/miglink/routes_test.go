package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// endpoint is one thing that a controller serves, as a client asks for it.
type endpoint struct{ method, path string }

func (e endpoint) grpc() bool { return e.method == "" }

// verb is the method of a request: gRPC is only spoken by POST.
func (e endpoint) verb() string {
	if e.grpc() {
		return http.MethodPost
	}
	return e.method
}

// contentType is the one that the endpoint takes.
func (e endpoint) contentType() string {
	if e.grpc() {
		return "application/grpc"
	}
	return "application/json"
}

// endpoints are all that a handler of the command line serves, and some paths that it does not.
func endpoints(t testing.TB, h http.Handler) []endpoint {
	t.Helper()
	all := []endpoint{{"GET", "/"}, {"POST", "/nowhere"}, {"POST", "//healthz"}, {"POST", "/healthz"}, {"PUT", "/api/v1/vms/vm-1/commands"}}
	for _, p := range httplink.Patterns(h) {
		method, path, found := strings.Cut(p, " ")
		if !found { // a service
			method, path = "", method+map[bool]string{true: "ServerReflectionInfo", false: "Attach"}[strings.Contains(method, "reflection")]
		}
		path = strings.NewReplacer("{vm_id}", "vm-1", "{id}", "c-1").Replace(path)
		all = append(all, endpoint{method, path})
	}
	// What is served when this was written. One that comes is tested without being named here.
	require.Subset(t, all, []endpoint{
		{"GET", "/api/v1/vms/vm-1/commands"},
		{"POST", "/api/v1/vms/vm-1/commands"},
		{"GET", "/api/v1/vms/vm-1/commands/stream"},
		{"GET", "/api/v1/vms/vm-1/commands/ws"},
		{"POST", "/api/v1/vms/vm-1/commands/ack"},
		{"POST", "/api/v1/vms/vm-1/events"},
		{"POST", "/api/v1/vms/vm-1/heartbeat"},
		{"", "/miglink.v1.CommandLink/Attach"},
		{"", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"},
		{"", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"},
		{"POST", "/admin/v1/commands"},
		{"GET", "/admin/v1/commands/c-1"},
		{"POST", "/admin/v1/commands/c-1/cancel"},
		{"POST", "/admin/v1/commands/c-1/settle"},
		{"GET", "/admin/v1/unsettled"},
		{"POST", "/admin/v1/vms/vm-1/forget"},
		{"GET", "/admin/v1/vms"},
		{"GET", "/admin/v1/vms/vm-1"},
		{"GET", "/admin/v1/vms/vm-1/commands"},
		{"GET", "/admin/v1/watch"},
		{"GET", "/healthz"},
		{"GET", "/livez"},
		{"GET", "/readyz"},
		{"GET", "/readyz/ledger"},
		{"GET", "/readyz/nats"},
	})
	return all
}

// Tokens that the authenticators below know.
const (
	tokenOfVM       = "of-vm-1"
	tokenOfOperator = "of-operator"
)

// served is a handler of the command line.
type served struct {
	c *controller.Controller
	h http.Handler
}

// serveAll is a controller with everything that it can serve. Who is asked for credentials is told by the arguments.
func serveAll(t testing.TB, vmsAsked, operatorsAsked bool, hosts ...string) served {
	t.Helper()
	var vms transport.Authenticator
	var operators admin.Authenticator
	if vmsAsked {
		vms = transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
			if vm != "vm-1" || c.Token != tokenOfVM {
				return transport.Grant{}, errors.New("not its token")
			}
			return transport.Grant{}, nil
		})
	}
	if operatorsAsked {
		operators = admin.AuthenticatorFunc(func(_ context.Context, c transport.Credentials) (admin.Operator, error) {
			if c.Token != tokenOfOperator {
				return admin.Operator{}, errors.New("not an operator's token")
			}
			return admin.Operator{Name: "op", Grants: []admin.Grant{{Verb: admin.VerbRead}, {Verb: admin.VerbSend}}}, nil
		})
	}
	c := controller.New(memory.New(), controller.Options{})
	t.Cleanup(func() { c.Close() })
	cmd := controllerCmd{AllowHost: hosts, GRPCReflection: true}
	return served{c, cmd.handler(c, vms, operators, nil, newHealth([]string{"nats"}).routes(operators, operators != nil, nil), slog.New(slog.DiscardHandler))}
}

// untouched fails where anything was sent, or anybody was taken for a VM.
func (s served) untouched(t testing.TB, msg string) {
	t.Helper()
	list, err := s.c.List(t.Context(), "vm-1", 0, 10)
	require.NoError(t, err)
	require.Empty(t, list, "%s: a command was sent", msg)
	fleet, err := s.c.Fleet(t.Context())
	require.NoError(t, err)
	require.Empty(t, fleet, "%s: somebody is taken for a VM", msg)
}

// Reflection is not served unless it is asked for.
func TestReflectionIsOff(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	for on, n := range map[bool]int{true: 2, false: 0} {
		h := (&controllerCmd{GRPCReflection: on}).handler(c, nil, nil, nil, nil, slog.New(slog.DiscardHandler))
		require.Len(t, strings.Split(strings.Join(httplink.Patterns(h), "\n"), "grpc.reflection"), n+1)
	}
}

// listen serves h over loopback until the end of the test.
func listen(t testing.TB, s *http.Server, tls bool) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if tls {
			_ = s.ServeTLS(l, "", "")
		} else {
			_ = s.Serve(l)
		}
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String()
}
