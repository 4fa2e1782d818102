// Package needs skips a test on a machine that lacks what the test needs. Where MIGLINK_REQUIRE is set, as the gate sets it,
// the test fails instead: what was skipped was not tested. No other package skips a test.
package needs

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// Required is the variable of the environment that makes a failure of every skip.
const Required = "MIGLINK_REQUIRE"

// Machine is met if err, the error of an attempt to use what the test needs, is nil. The message says what is missing and
// how to get it.
func Machine(t testing.TB, err error, message string) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv(Required) != "":
		t.Fatalf("%s: %v (%s is set, so that no test may be skipped)", message, err, Required)
	default:
		t.Skipf("%s: %v", message, err)
	}
}

// Program returns the path of a program that the test runs.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	Machine(t, err, name+" is not installed")
	return path
}

// Linux is for what exists on Linux only.
func Linux(t testing.TB, message string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		Machine(t, fmt.Errorf("this system is %s", runtime.GOOS), message)
	}
}

// Root is for tests that have files of other users.
func Root(t testing.TB) {
	t.Helper()
	if id := os.Geteuid(); id != 0 {
		Machine(t, fmt.Errorf("the tests run as user %d", id), "only root gives files away")
	}
}
