package auth_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"time"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// A token of a controller's own keys, issued and verified. Another process that has the keys, or only their
// public halves, verifies it as well.
func ExampleKeys() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if _, err := auth.NewKey(dir); err != nil {
		log.Fatal(err)
	}
	keys, err := auth.OpenKeys(dir, auth.KeysOptions{})
	if err != nil {
		log.Fatal(err)
	}
	token, err := keys.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
	if err != nil {
		log.Fatal(err)
	}

	v, err := auth.NewVerifier(keys, auth.VerifierOptions{})
	if err != nil {
		log.Fatal(err)
	}
	claims, err := v.Verify(token, auth.AudienceAgent)
	fmt.Println(claims.Subject, err)
	_, err = v.Verify(token, auth.AudienceOperator)
	fmt.Println(err)
	// Output:
	// vm-1 <nil>
	// the token is for ["miglink-agent"], not for "miglink-operator"
}

// A controller whose VMs show tokens of its keys: whatever serves agents takes the same Authenticator.
func ExampleJWT() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if _, err := auth.NewKey(dir); err != nil { // once: miglink token --new-key
		log.Fatal(err)
	}

	keys, err := auth.OpenKeys(dir, auth.KeysOptions{Log: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := auth.NewVerifier(keys, auth.VerifierOptions{})
	if err != nil {
		log.Fatal(err)
	}
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{Authenticator: auth.JWT(verifier)})))

	token, err := keys.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
	if err != nil {
		log.Fatal(err)
	}
	for _, vm := range []string{"vm-1", "vm-2"} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/vms/"+vm+"/commands", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(vm, w.Code)
	}
	// Output:
	// vm-1 200
	// vm-2 403
}

// An agent whose token something else puts into a file, and replaces before it expires.
func ExampleFile() {
	t, err := ws.New("https://controller.example.com", ws.Options{Token: auth.File("/run/miglet/token")})
	if err != nil {
		log.Fatal(err)
	}
	a, err := agent.New(t, agent.Options{VM: "vm-1"})
	if err != nil {
		log.Fatal(err)
	}
	agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) { return nil, nil }, agent.Policy{})
	if err := a.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// Certificates and tokens beside each other: whichever a VM has.
func ExampleAny() {
	v, err := auth.NewVerifier(nil, auth.VerifierOptions{Secret: []byte("at least 32 bytes nobody can guess")})
	if err != nil {
		log.Fatal(err)
	}
	a := auth.Any(auth.Certificate(nil), auth.JWT(v))
	vm2 := &x509.Certificate{NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{auth.CertificateURI("vm-2")}}
	for _, vm := range []string{"vm-1", "vm-2"} {
		_, told, _ := transport.Authenticate(context.Background(), a, vm, transport.Credentials{Certificate: vm2})
		fmt.Println(vm, told)
	}
	// Output:
	// vm-1 miglink: forbidden: these credentials are another VM's
	// vm-2 <nil>
}
