package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
)

// A controller on the team's own mux, beside what is there already, behind the team's own check.
func ExampleHandler() {
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{
		Authenticator: transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
			if c.Token != "token-of-"+vm {
				return transport.Grant{}, errors.New("not in the table") // the client is told that it is unauthorized
			}
			return transport.Grant{}, nil
		}),
	})))

	for _, token := range []string{"token-of-vm-1", "token-of-vm-2"} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/vms/vm-1/commands", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 {"vm_id":"vm-1","commands":[],"cursor":""}
	// 401 {"type":"urn:miglink:error:unauthorized","title":"Unauthorized","status":401,"detail":"these credentials do not open this VM's link; the controller's log says why","code":"unauthorized"}
}
