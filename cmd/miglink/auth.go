package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/auth/gce"
	"github.com/miglink/miglink/auth/oidc"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// whoIsWho are the flags of a controller that say how an agent shows which VM it is, and an operator who that is.
type whoIsWho struct {
	Keys         string            `help:"Let VMs and operators pass with tokens of the keys in this directory; see miglink token." placeholder:"DIR"`
	OIDCIssuer   string            `name:"oidc-issuer" help:"Let VMs pass with ID tokens of this issuer." placeholder:"https://HOST"`
	OIDCAudience string            `name:"oidc-audience" help:"Whom those tokens are for: this controller." placeholder:"AUDIENCE"`
	OIDCVMClaim  string            `name:"oidc-vm-claim" default:"sub" help:"The claim that names the VM, like google.compute_engine.instance_name." placeholder:"CLAIM"`
	OIDCRequire  map[string]string `name:"oidc-require" help:"A claim that must have this value, like google.compute_engine.project_id=my-project. Repeatable." placeholder:"CLAIM=VALUE"`
	OIDCParty    []string          `name:"oidc-azp" help:"Let tokens pass that were issued to this party (azp), besides those of the audience or of the subject itself. Repeatable." placeholder:"PARTY" sep:"none"`
	OIDCMaxLife  time.Duration     `name:"oidc-max-life" default:"24h" help:"The longest time from a token's iat to its exp." placeholder:"DURATION"`
	ClientCA     string            `name:"client-ca" help:"Let VMs pass with certificates of the authorities in this PEM file." placeholder:"FILE"`
	BrokerUsers  bool              `help:"Let VMs pass whose user at the RabbitMQ broker has the VM's name."`
}

// agentsAsked says whether agents are authenticated.
func (w *whoIsWho) agentsAsked() bool {
	return w.Keys != "" || w.OIDCIssuer != "" || w.ClientCA != "" || w.BrokerUsers
}

const oidcMaxLife = 24 * time.Hour // the default of --oidc-max-life

func (c *controllerCmd) checkWhoIsWho() error {
	switch {
	case (c.OIDCIssuer == "") != (c.OIDCAudience == ""):
		return usage("--oidc-issuer and --oidc-audience go together")
	case c.OIDCIssuer == "" && (len(c.OIDCRequire) > 0 || len(c.OIDCParty) > 0 || c.OIDCVMClaim != "sub" || c.OIDCMaxLife != oidcMaxLife):
		return usage("--oidc-require, --oidc-vm-claim, --oidc-azp and --oidc-max-life are for --oidc-issuer")
	case c.OIDCMaxLife < time.Second:
		return usage("--oidc-max-life is %s, at least a second is needed", c.OIDCMaxLife)
	case c.ClientCA != "" && c.TLSCert == "":
		return usage("--client-ca is for --tls-cert: without TLS nobody shows a certificate")
	case c.BrokerUsers && c.AMQP == "":
		return usage("--broker-users is for --amqp: no other broker says who has sent a hello")
	case c.agentsAsked() && c.Keys == "":
		// Also on the loopback, and with --insecure: whoever wants to know VMs has VMs that he does not trust, and one of
		// those, or a page in a browser, could send commands to all.
		return usage("VMs are asked for credentials, and operators are not: give --keys, a directory of keys for operators' tokens (miglink token --keys DIR --new-key makes it)")
	}
	return nil
}

// issuerPart is what the health of a controller calls the issuer of tokens.
const issuerPart = "oidc"

// authenticators are nil where nobody is asked.
func (w *whoIsWho) authenticators(ctx context.Context, health *health, log *slog.Logger) (vms transport.Authenticator, operators admin.Authenticator, err error) {
	var ways []transport.Authenticator
	if w.Keys != "" {
		keys, err := auth.OpenKeys(w.Keys, auth.KeysOptions{Log: log})
		if err != nil {
			return nil, nil, usage("--keys: %w", err)
		}
		v, err := auth.NewVerifier(keys, auth.VerifierOptions{})
		if err != nil {
			return nil, nil, usage("--keys: %w", err)
		}
		ways = append(ways, auth.JWT(v))
		operators = admin.Tokens(func(token string) (name string, grants []string, expires time.Time, err error) {
			c, err := v.Verify(token, auth.AudienceOperator)
			if err != nil {
				return "", nil, time.Time{}, err
			}
			return c.Subject, c.Grants, c.Expires, nil
		})
	}
	if w.ClientCA != "" {
		ways = append(ways, auth.Certificate(nil))
	}
	if w.BrokerUsers {
		ways = append(ways, auth.User())
	}
	if w.OIDCIssuer != "" { // the last: it may ask the issuer
		first, cancel := context.WithTimeout(ctx, firstTry)
		defer cancel()
		a, err := oidc.New(first, w.OIDCIssuer, w.OIDCAudience, oidc.Options{
			VM: w.OIDCVMClaim, Require: w.OIDCRequire, AuthorizedParties: w.OIDCParty, MaxLife: w.OIDCMaxLife,
			Retry: true, Log: log,
		})
		if errors.Is(err, oidc.ErrIssuer) { // interrupted
			return nil, nil, err
		}
		if err != nil {
			return nil, nil, usage("--oidc-issuer: %w", err)
		}
		health.at(issuerPart, a.Ready)
		ways = append(ways, a)
	}
	if len(ways) == 0 {
		return nil, operators, nil
	}
	return auth.Any(ways...), operators, nil
}

// tokenVariable has a token where there is no file of it. A flag would show it to everybody on the machine.
const tokenVariable = "MIGLINK_TOKEN"

// credentials are the flags of an agent with which it shows that it is its VM.
type credentials struct {
	TokenFile   string `help:"File of the token to show, read again for each request. Default: the token in the variable MIGLINK_TOKEN." placeholder:"FILE"`
	GCEAudience string `name:"gce-audience" help:"Show the identity token of this Google Compute Engine instance, for this audience." placeholder:"AUDIENCE"`
}

// token is nil where there is none to show. It takes the variable out of the environment: the programs that an
// agent runs are not to have it.
func (c *credentials) token() (transport.TokenSource, error) {
	given := os.Getenv(tokenVariable)
	if err := os.Unsetenv(tokenVariable); err != nil {
		return nil, fmt.Errorf("%s: %w", tokenVariable, err)
	}
	ways := 0
	for _, way := range []string{c.TokenFile, c.GCEAudience, given} {
		if way != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, usage("of --token-file, --gce-audience and %s only one can be meant", tokenVariable)
	case c.GCEAudience != "":
		return gce.Identity(c.GCEAudience), nil
	}
	return tokenIn(c.TokenFile, tokenVariable, given)
}

// tokenIn is the token in a file, as it is each time, or else the one of a variable of the environment; nil: there is
// none. What is no token now is a mistake; what becomes none may be mended.
func tokenIn(file, variable, given string) (transport.TokenSource, error) {
	var source transport.TokenSource
	where := variable
	switch {
	case file != "":
		source, where = auth.File(file), "--token-file"
	case given != "":
		source = auth.Fixed(given)
	default:
		return nil, nil
	}
	if _, err := source(context.Background()); err != nil {
		return nil, usage("%s: %w", where, err)
	}
	return source, nil
}
