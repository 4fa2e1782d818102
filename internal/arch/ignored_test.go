package arch_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/needs"
)

// What somebody makes who does what the README says, keys and tokens among it, is not committed by "git add".
func TestFilesOfTheReadmeAreIgnored(t *testing.T) {
	t.Parallel()
	_, err := os.Stat("../../.git")
	needs.Machine(t, err, "this is no clone")
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	names := regexp.MustCompile(`(?:--data|--keys|--audit|--out|--html|--journal|-o|>) (?:\./)?([a-z][\w.-]*)`).FindAllStringSubmatch(string(readme), -1)
	require.Greater(t, len(names), 6)
	for _, name := range names {
		file, inside := name[1], name[1]+"/file" // a directory is one once there is something in it
		cmd := exec.CommandContext(t.Context(), "git", "check-ignore", "-q", "--no-index", file)
		other := exec.CommandContext(t.Context(), "git", "check-ignore", "-q", "--no-index", inside)
		cmd.Dir, other.Dir = "../..", "../.."
		if cmd.Run() != nil && other.Run() != nil {
			t.Errorf("%q of the README makes %s, which is not in .gitignore", name[0], file)
		}
	}
}
