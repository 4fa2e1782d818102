package brokertest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/needs"
)

// debian is where the package has the programs themselves; what is in the PATH changes the user.
const debian = "/usr/lib/rabbitmq/bin"

// Rabbit is a RabbitMQ of a test's own.
type Rabbit struct {
	*Process
	Data string // a folder
	t    *testing.T
	env  []string
}

// StartRabbit starts one, for as long as the test.
func StartRabbit(t *testing.T) *Rabbit {
	t.Helper()
	needs.Program(t, "rabbitmq-server")
	addr, dist := FreeAddr(t), FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	_, distPort, _ := net.SplitHostPort(dist)
	dir := t.TempDir()
	r := &Rabbit{t: t, Data: filepath.Join(dir, "mnesia"), env: append(os.Environ(),
		"HOME="+dir, // of the cookie
		"RABBITMQ_NODENAME=miglink-"+port+"@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+port, "RABBITMQ_DIST_PORT="+distPort,
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"), "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "none"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+filepath.Join(dir, "generated"), "RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"),
		"RABBITMQ_FEATURE_FLAGS_FILE="+filepath.Join(dir, "feature_flags"),
	)}
	r.Process = Start(t, addr, func() *exec.Cmd { return r.Command("rabbitmq-server") })
	return r
}

// Command is one of RabbitMQ's programs, for this node.
func (r *Rabbit) Command(program string, args ...string) *exec.Cmd {
	if _, err := os.Stat(filepath.Join(debian, program)); err == nil {
		program = filepath.Join(debian, program)
	}
	cmd := exec.CommandContext(r.t.Context(), program, args...)
	cmd.Env = r.env
	return cmd
}

// Ctl is rabbitmqctl.
func (r *Rabbit) Ctl(args ...string) {
	r.t.Helper()
	out, err := r.Command("rabbitmqctl", args...).CombinedOutput()
	require.NoError(r.t, err, "%s: %s", args, out)
}
