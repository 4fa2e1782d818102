// Package auth says who is a VM: authenticators for every server half, and token sources for agents.
//
// A controller issues tokens of its own with [Keys], and lets VMs pass that show one with [JWT]. Where VMs have
// certificates there is [Certificate], where a broker knows its users [User], and [Any] has several beside each
// other. Package auth/oidc takes tokens of an issuer elsewhere. Whatever it is, it is given to the server halves as
// their Authenticator.
//
// An agent shows the token of a [TokenSource]: [File], [Fixed], or the one of package auth/gce.
//
// # Tokens
//
// A token is a JWT (RFC 7519), signed with EdDSA or ES256 by one of the Keys, which its header names as kid. HS256 is
// taken only where [VerifierOptions] have a Secret. Its claims:
//
//	aud     one audience: miglink-agent, or miglink-operator; a token of one kind never passes as the other
//	sub     the VM, or the operator
//	vms     patterns of VMs, see MatchVM: who shows it speaks for those, and sub only names it
//	grants  what an operator may do
//	exp     required; not a second is given beyond it
//	nbf     not before, where it is there; a minute sooner is taken, since the issuer's clock may be ahead
//	iss     where VerifierOptions ask for one
//	iat, jti
package auth

import "github.com/miglink/miglink/transport"

// TokenSource is what an agent shows a token of.
type TokenSource = transport.TokenSource
