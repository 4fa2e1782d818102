package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
)

// Parameters are on disk as long as the command may have to be run, and for an hour more at most.
func TestParametersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		holds := func(id string) bool {
			b, err := os.ReadFile(filepath.Join(dir, fileName))
			require.NoError(t, err)
			return strings.Contains(string(b), "of "+id)
		}
		j, _, _, err := Open(dir, large, 100)
		require.NoError(t, err)
		require.NoError(t, j.Write(received("a"), received("b"), received("c")))
		time.Sleep(3 * stay)
		require.NoError(t, j.Write(finished("a", ack.Succeeded)))
		time.Sleep(stay - time.Second)
		synctest.Wait()
		require.True(t, holds("a"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.False(t, holds("a"))
		require.True(t, holds("b"), "it may have to be run yet")

		require.NoError(t, j.Write(finished("b", ack.Succeeded)))
		require.True(t, holds("b"))
		require.NoError(t, j.Close())
		require.False(t, holds("b"))

		j, tasks, _, err := Open(dir, large, 100)
		require.NoError(t, err)
		require.Len(t, tasks, 3)
		require.NotNil(t, tasks[2].Delivery)
		require.NoError(t, j.Close())
	})
}

// A file that could not be written anew is, as soon as it can be, and takes what comes meanwhile.
func TestParametersGoLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, fileName)
		j, _, _, err := Open(dir, large, 100)
		require.NoError(t, err)
		require.NoError(t, j.Write(received("a"), finished("a", ack.Succeeded)))
		require.NoError(t, os.Mkdir(path+".new", 0o700))
		time.Sleep(stay + 10*retry)
		synctest.Wait()
		require.NoError(t, j.Write(received("b")))
		require.NoError(t, os.Remove(path+".new"))
		time.Sleep(2 * retry)
		synctest.Wait()
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(b), "of a")
		require.Contains(t, string(b), "of b")
		require.NoError(t, j.Close())
	})
}
