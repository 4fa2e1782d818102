package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever leaves a request half sent does not make a failure of the controller's end, which a supervisor would take for one.
func TestStopWithHalfARequest(t *testing.T) {
	t.Parallel()
	ctl, url := startController(t, "--data", t.TempDir(), "--drain", "0s")
	for _, path := range []string{"/api/v1/vms/vm-1/commands/ack", "/api/v1/vms/vm-1/events", "/admin/v1/commands"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
		require.NoError(t, err)
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "100 Continue") // the body is waited for
	}
	require.Zero(t, ctl.interrupt(), ctl.log)
	require.Contains(t, ctl.log.String(), "requests were cut")
}
