//go:build unix

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller/admin"
)

// steers says where a text holds what a terminal obeys, or what lets a reader take it for another.
func steers(text string) int {
	return strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) })
}

// What a VM says steers no terminal and forges no line, wherever it is shown. JSON has it as it came.
func TestEscapesOfAVM(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	to := func(args ...string) []string { return append(args, "--controller", url) }
	hostile := `printf '\033[2J\302\233;\342\200\256\177\007\nvm-9 drain c9: succeeded\n\033]0;x\007' `
	start(t, to("agent", "--vm", "vm-1", "--heartbeat", "50ms", "--exec", "bad="+script(t, hostile+">&2; exit 3"), "--exec", "good="+script(t, hostile))...)
	watch := start(t, to("watch", "vm-1")...)
	o := miglink(t, to("send", "vm-1", "bad", "--id", "c1", "--wait", "60s")...)
	require.Equal(t, 1, o.status)
	ok(t, to("send", "vm-1", "good", "--id", "c2", "--wait", "60s")...)
	late := miglink(t, to("cancel", "c1", "--reason", "too\x1b[2J late\nvm-9 forged")...)
	require.Equal(t, exitFailed, late.status, "it has ended")
	watch.out.await(t, "c2: succeeded")
	for name, text := range map[string]string{
		"send --wait":         o.errors,
		"status of a failure": ok(t, to("status", "c1")...),
		"status of a result":  ok(t, to("status", "c2")...),
		"status of a VM":      ok(t, to("status", "vm-1")...),
		"fleet":               ok(t, to("fleet")...),
		"watch":               watch.out.String(),
	} {
		require.Negative(t, steers(text), "%s: %q", name, text)
		require.NotContains(t, text, "\nvm-9", name)
		if name != "fleet" {
			require.Contains(t, text, "1b[2J", name+": it is shown")
		}
	}
	var s admin.Status
	require.NoError(t, json.Unmarshal([]byte(ok(t, to("status", "c1", "--output", "json")...)), &s))
	require.Contains(t, s.Reason, "\x1b[2J")
	o = miglink(t, to("send", "vm-1", "drain", "--params", "@/does/not\x1b[2Jexist")...)
	require.Negative(t, steers(o.errors), "%q", o.errors)
}
