package admin

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

func TestParseGrant(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Grant{
		"read":               {Verb: VerbRead},
		"send":               {Verb: VerbSend},
		"send:*":             {Verb: VerbSend, Type: "*"},
		"send:**@**":         {Verb: VerbSend},
		"send:***@***":       {Verb: VerbSend},
		"send@*":             {Verb: VerbSend, VM: "*"},
		"read@pool-*":        {Verb: VerbRead, VM: "pool-*"},
		"send:drain@pool-*":  {Verb: VerbSend, Type: "drain", VM: "pool-*"},
		"send:acme/*@a b@c:": {Verb: VerbSend, Type: "acme/*", VM: "a b@c:"},
		"read:drain":         {Verb: VerbRead, Type: "drain"},
		"settle":             {Verb: VerbSettle},
		"settle:drain@a":     {Verb: VerbSettle, Type: "drain", VM: "a"},
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
		"": "neither read, send nor settle", "write": "neither", "Read": "neither", " read": "neither", "*": "neither", "read,send": "neither", "@vm-1": "neither",
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
		{"send", VerbSettle, "vm-1", "drain", false},
		{"settle", VerbSend, "vm-1", "drain", false},
		{"settle", VerbRead, "vm-1", "drain", false},
		{"settle@vm-*", VerbSettle, "vm-1", "drain", true},
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
		{"send@pool-*", VerbSend, "pool-a/1", "drain", false},
		{"send@pool-**", VerbSend, "pool-a/1", "drain", true},
		{"send@*", VerbSend, "a", "drain", true},
		{"send@*", VerbSend, "a/1", "drain", false},
		{"send@**", VerbSend, "a/1", "drain", true},
		{"send", VerbSend, "a/1", "acme/drain", true},
		{"send:*", VerbSend, "a", "acme/drain", false},
		{"send:acme/*", VerbSend, "a", "acme/drain", true},
		{"send:acme/*", VerbSend, "a", "acme/b/c", false},
		{"send:acme/**", VerbSend, "a", "acme/b/c", true},
	} {
		g, err := ParseGrant(test.grant)
		require.NoError(t, err)
		require.Equal(t, test.want, g.allows(test.verb, test.vm, test.typ), "%+v", test)
	}
	require.False(t, Grant{}.allows(VerbRead, "vm-1", "drain"), "the zero grant is for nothing")
}

// What parses is printed such that it parses to the same.
func FuzzParseGrant(f *testing.F) {
	for _, s := range []string{"read", "send:*@*", "send:**@***", "send:drain@pool-*", "send:a/b.c_d-*@a@b:c", "read@", "send:", "x"} {
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
