package admin

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

func TestParseGrant(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Grant{
		"read":               {Verb: VerbRead},
		"send":               {Verb: VerbSend},
		"send:*":             {Verb: VerbSend},
		"send:*@*":           {Verb: VerbSend},
		"read@pool-*":        {Verb: VerbRead, VM: "pool-*"},
		"send:drain@pool-*":  {Verb: VerbSend, Type: "drain", VM: "pool-*"},
		"send:acme/*@a b@c:": {Verb: VerbSend, Type: "acme/*", VM: "a b@c:"},
		"read:drain":         {Verb: VerbRead, Type: "drain"},
	} {
		g, err := ParseGrant(text)
		require.NoError(t, err, text)
		require.Equal(t, want, g, text)
		b, err := json.Marshal([]Grant{g})
		require.NoError(t, err)
		var back []Grant
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, []Grant{g}, back)
	}
	for text, says := range map[string]string{
		"": "neither read nor send", "write": "neither", "Read": "neither", " read": "neither", "*": "neither", "read,send": "neither", "@vm-1": "neither",
		"send:": "command types", "send:@vm-1": "command types", "send:Drain": "command types", "send:a:b": "command types", "send:a b": "command types",
		"send:" + strings.Repeat("a", 129): "command types",
		"read@":                            "pattern of VMs", "read@a\n": "pattern of VMs", "read@\xff": "pattern of VMs", "read@" + strings.Repeat("a", 129): "pattern of VMs",
	} {
		_, err := ParseGrant(text)
		require.ErrorContains(t, err, says, "%q", text)
	}
	_, err := ParseGrants([]string{"read", "sned"})
	require.ErrorContains(t, err, `"sned"`)
}

func TestGrantAllows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		grant string
		verb  Verb
		vm    string
		typ   command.Type
		want  bool
	}{
		{"read", VerbRead, "vm-1", "drain", true},
		{"read", VerbSend, "vm-1", "drain", false},
		{"send", VerbRead, "vm-1", "drain", false},
		{"send:drain", VerbSend, "vm-1", "drain", true},
		{"send:drain", VerbSend, "vm-1", "drain2", false},
		{"send:drain", VerbSend, "vm-1", "undrain", false},
		{"send@pool-*", VerbSend, "pool-", "drain", true},
		{"send@pool-*", VerbSend, "pool-7", "drain", true},
		{"send@pool-*", VerbSend, "my-pool-7", "drain", false},
		{"send@*-7", VerbSend, "pool-7-7", "drain", true},
		{"send@*-7", VerbSend, "pool-77", "drain", false},
		{"send@a*b*c", VerbSend, "a-b-c-b-c", "drain", true},
		{"send@a*b*c", VerbSend, "acb", "drain", false},
		{"send@a.c", VerbSend, "abc", "drain", false},
		{"send@[a-z]", VerbSend, "a", "drain", false},
		{"send@?", VerbSend, "a", "drain", false},
		{"send@VM", VerbSend, "vm", "drain", false},
		{"send@**a", VerbSend, "a", "drain", true},
	} {
		g, err := ParseGrant(test.grant)
		require.NoError(t, err)
		require.Equal(t, test.want, g.allows(test.verb, test.vm, test.typ), "%+v", test)
	}
	require.False(t, Grant{}.allows(VerbRead, "vm-1", "drain"), "the zero grant is for nothing")
}

// What parses is printed such that it parses to the same.
func FuzzParseGrant(f *testing.F) {
	for _, s := range []string{"read", "send:*@*", "send:drain@pool-*", "send:a/b.c_d-*@a@b:c", "read@", "send:", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGrant(s)
		if err != nil {
			require.Equal(t, Grant{}, g)
			return
		}
		again, err := ParseGrant(g.String())
		require.NoError(t, err)
		require.Equal(t, g, again)
		require.True(t, g.allows(g.Verb, strings.ReplaceAll(g.VM, "*", ""), command.Type(strings.ReplaceAll(g.Type, "*", "x"))))
	})
}

// A pattern matches what the regular expression does that it stands for.
func FuzzMatches(f *testing.F) {
	f.Add("a*b*c", "a-b-c-b-c")
	f.Add("**", "")
	f.Add("*a*", "bab")
	f.Add("pool-*", "pool-7")
	f.Add("ab*", "a*b")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			return // regexp has its own way with what is not UTF-8
		}
		re := regexp.MustCompile(`(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `\z`)
		require.Equal(t, re.MatchString(s), matches(pattern, s), "%q of %q", pattern, s)
	})
}
