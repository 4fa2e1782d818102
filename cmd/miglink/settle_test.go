package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller/admin"
)

// What nobody will answer can be ended, VMs can be forgotten, and what is there is listed in part or as a whole.
func TestSettleAndForget(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	to := func(args ...string) []string { return append(args, "--controller", url) }
	for i := range 5 {
		sent := ok(t, to("send", fmt.Sprint("vm-", i), "drain", "--id", fmt.Sprint("c-", i))...)
		require.Contains(t, sent, ": queued (nothing was ever heard of this VM)\n")
	}
	o := miglink(t, to("send", "vm-0", "drain", "--id", "c-0", "--wait", "1ms")...)
	require.Equal(t, exitTimeout, o.status)
	require.Contains(t, o.out, "c-0 drain to vm-0: queued (known already) (nothing was ever heard of this VM)\n", "a wait hides nothing")
	ids := func(args ...string) (out []string) {
		var list []struct {
			ID string `json:"id"`
			VM string `json:"vm_id"`
		}
		text := ok(t, to(append(args, "--output", "json")...)...)
		require.NoError(t, json.Unmarshal([]byte(text), &list), text)
		for _, item := range list {
			out = append(out, item.ID+item.VM)
		}
		return out
	}
	require.Equal(t, []string{"c-0vm-0", "c-1vm-1", "c-2vm-2", "c-3vm-3", "c-4vm-4"}, ids("unsettled"))
	require.Equal(t, []string{"c-2vm-2"}, ids("unsettled", "--match", "*-2"))
	require.Empty(t, ids("unsettled", "--state", "started"))
	require.Equal(t, []string{"vm-0", "vm-1"}, ids("fleet", "--limit", "2"))
	o = miglink(t, to("unsettled", "--limit", "2")...)
	require.Zero(t, o.status)
	require.Contains(t, o.out, "c-1")
	require.NotContains(t, o.out, "c-2")
	require.Equal(t, "miglink: there is more: --after \"1@vm-1\"\n", o.errors)
	require.Equal(t, []string{"c-2vm-2", "c-3vm-3"}, ids("unsettled", "--limit", "2", "--after", "1@vm-1"))
	require.Empty(t, ids("fleet", "--state", "online"))

	require.Equal(t, "c-0 drain to vm-0: dead\n", ok(t, to("settle", "c-0", "--reason", "it burnt")...))
	status := ok(t, to("status", "c-0")...)
	require.Contains(t, status, "settled")
	require.Contains(t, status, "it burnt")
	require.Equal(t, "c-1 drain to vm-1: succeeded\n", ok(t, to("settle", "c-1", "--stage", "succeeded")...))
	require.Equal(t, "vm-2 is forgotten; commands that waited for it and have ended: 1\n", ok(t, to("forget", "vm-2")...))
	require.NotContains(t, strings.Join(ids("fleet"), " "), "vm-2")
	require.Contains(t, ok(t, to("status", "c-2")...), "vm_gone")

	agent := start(t, "agent", "--vm", "vm-3", "--controller", url)
	agent.log.await(t, "linked")
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"forget", "vm-3"}, 2, "vm-3 is attached: stop its agent first, or forget it by force"},
		{[]string{"forget", "nobody"}, exitNotFound, "nothing was heard of this VM"},
		{[]string{"settle", "nobody"}, exitNotFound, "no such command"},
		{[]string{"settle", "c-4", "--stage", "started"}, 2, `stage is "started"`},
		{[]string{"settle", "c-0", "--stage", "failed"}, 2, "has ended before, as dead"},
		{[]string{"fleet", "--state", "gone"}, 2, `state is "gone"`},
		{[]string{"fleet", "--limit=-1"}, 2, "--limit is negative"},
		{[]string{"unsettled", "--after", "x"}, 2, "after is"},
	} {
		o := miglink(t, to(test.args...)...)
		require.Equal(t, test.status, o.status, "%v: %s", test.args, o.errors)
		require.Contains(t, o.errors, test.says)
	}
	ok(t, to("forget", "vm-3", "--force")...)
	agent.log.await(t, "revoked")
}

// Of a file, too, it is told of which VMs nothing was ever heard: with JSON, and where the outcome is waited for. A file that
// has many of them names some.
func TestSendFileToUnknownVMs(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	file := func(vms ...string) string {
		var b strings.Builder
		for _, vm := range vms {
			fmt.Fprintf(&b, "{\"vm_id\":%q,\"type\":\"drain\"}\n", vm)
		}
		name := filepath.Join(t.TempDir(), "commands")
		require.NoError(t, os.WriteFile(name, []byte(b.String()), 0o600))
		return name
	}
	send := func(name string, args ...string) output {
		return miglink(t, append([]string{"send", "--file", name, "--controller", url}, args...)...)
	}
	agent := start(t, "agent", "--vm", "vm-1", "--controller", url)
	agent.log.await(t, "linked")
	const some = "nothing was ever heard of 2 of these VMs; what is queued for them waits until they dial: vm-11, wm-1\n"
	typed := file("wm-1", "vm-1", "vm-11", "wm-1")
	o := send(typed)
	require.Zero(t, o.status, o.errors)
	require.Equal(t, "4 commands queued for 3 VMs\n", o.out)
	require.Contains(t, o.errors, some)
	o = send(typed, "--wait", "1ms", "--output", "json")
	require.Equal(t, exitTimeout, o.status, o.errors)
	require.Contains(t, o.errors, some)
	var list []admin.Status
	require.NoError(t, json.Unmarshal([]byte(o.out), &list), o.out)
	require.False(t, *list[0].VMKnown, "a wait hides nothing")

	var many []string
	for i := range 25 {
		many = append(many, fmt.Sprintf("none-%02d", i))
	}
	o = send(file(many...))
	require.Zero(t, o.status, o.errors)
	require.Contains(t, o.errors, "nothing was ever heard of 25 of these VMs")
	require.Contains(t, o.errors, "none-18, none-19 and 5 more\n")
	require.NotContains(t, send(file("vm-1")).errors, "ever heard")
}
