package admin

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/pattern"
	"github.com/miglink/miglink/transport"
)

// Verb is what a grant lets an operator do.
type Verb string

// The verbs. None includes another.
const (
	VerbRead   Verb = "read"   // see commands, VMs and what happens
	VerbSend   Verb = "send"   // send commands, and cancel them
	VerbSettle Verb = "settle" // say what became of commands, and forget VMs
)

// Grant lets an operator do one thing to some commands of some VMs. As text it is
//
//	VERB[:TYPE][@VM]
//
// as in "read", "read@pool-*", "send:drain@pool-*" or "settle". TYPE and VM are patterns, of a command's type and of
// a VM's name: "*" stands for any run of characters but "/", also for none; "**" stands for any run at all; every other
// character stands for itself, case counts, and the whole has to match. So "pool-*" is pool-a and not pool-a/1, and "*"
// is every name without a "/". Without a TYPE any is meant, and without a VM likewise; "**" says the same. The tokens of
// relays have the same grammar, see auth.MatchVM. The first "@" begins the VM, which may hold further ones. Presence and
// events of a VM are read by whoever may read any type of its commands.
type Grant struct {
	Verb Verb
	Type string // pattern; empty is any
	VM   string // pattern; empty is any
}

// ParseGrant reads a grant as text.
func ParseGrant(s string) (Grant, error) {
	left, vm, hasVM := strings.Cut(s, "@")
	verb, typ, hasType := strings.Cut(left, ":")
	g := Grant{Verb: Verb(verb)}
	switch {
	case g.Verb != VerbRead && g.Verb != VerbSend && g.Verb != VerbSettle:
		return Grant{}, fmt.Errorf("grant %.40q begins with neither read, send nor settle", s)
	case hasType && !validType(typ):
		return Grant{}, fmt.Errorf("grant %.40q: after the colon there is no pattern of command types: 1 to %d of a-z, 0-9, '_', '-', '.', '/' and '*'", s, command.MaxIDLength)
	case hasVM && !validVM(vm):
		return Grant{}, fmt.Errorf("grant %.40q: after the @ there is no pattern of VMs: 1 to %d bytes of printable text", s, transport.MaxVM)
	}
	g.Type, g.VM = anyIsEmpty(typ), anyIsEmpty(vm)
	return g, nil
}

// anyIsEmpty has one form for the pattern that matches everything.
func anyIsEmpty(p string) string {
	if strings.HasPrefix(p, pattern.Everything) && strings.Trim(p, "*") == "" {
		return ""
	}
	return p
}

// ParseGrants reads several.
func ParseGrants(list []string) ([]Grant, error) {
	grants := make([]Grant, len(list))
	for i, s := range list {
		var err error
		if grants[i], err = ParseGrant(s); err != nil {
			return nil, err
		}
	}
	return grants, nil
}

func validType(s string) bool {
	return s != "" && len(s) <= command.MaxIDLength && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-./*") == ""
}

func validVM(s string) bool {
	return s != "" && len(s) <= transport.MaxVM && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, unicode.IsControl)
}

// String is the grant as text, in its shortest form.
func (g Grant) String() string {
	s := string(g.Verb)
	if g.Type != "" {
		s += ":" + g.Type
	}
	if g.VM != "" {
		s += "@" + g.VM
	}
	return s
}

// MarshalText is String.
func (g Grant) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText is ParseGrant.
func (g *Grant) UnmarshalText(b []byte) (err error) {
	*g, err = ParseGrant(string(b))
	return err
}

// allows says whether g is for a verb on commands of a type of a VM.
func (g Grant) allows(v Verb, vm string, t command.Type) bool {
	return g.allowsVM(v, vm) && (g.Type == "" || pattern.Match(g.Type, string(t)))
}

// allowsVM says whether g is for a verb on some commands of a VM.
func (g Grant) allowsVM(v Verb, vm string) bool {
	return g.Verb == v && (g.VM == "" || pattern.Match(g.VM, vm))
}
