//go:build unix

package private_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/internal/private"
)

// place is a directory with a file in it, below one that is ours alone.
type place struct{ above, dir, file string }

func newPlace(t *testing.T) place {
	t.Helper()
	above := filepath.Join(t.TempDir(), "above")
	p := place{above, filepath.Join(above, "dir"), filepath.Join(above, "dir", "file")}
	require.NoError(t, os.Chmod(filepath.Dir(above), 0o755))
	mkdir(t, p.above, 0o755)
	mkdir(t, p.dir, 0o755)
	t.Cleanup(func() { os.Chmod(p.dir, 0o700) }) // else a mode of a test keeps it from being deleted, but by root
	write(t, p.file, 0o644)
	return p
}

// mkdir and write set the mode that they are given, whatever the umask is.
func mkdir(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, os.Chmod(path, mode))
}

func write(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	require.NoError(t, os.Chmod(path, mode))
}

// refused requires that a check names a path, its mode and a remedy.
func refused(t *testing.T, err error, path, mode, remedy string) {
	t.Helper()
	var e *private.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, path, e.Path)
	require.Contains(t, e.Why, mode)
	require.Equal(t, remedy, e.Remedy)
	for _, s := range []string{path, mode, remedy} {
		require.Contains(t, err.Error(), s)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	for mode, text := range map[fs.FileMode]string{0o700: "", 0o755: "", 0o555: "", 0o775: "0775", 0o757: "0757", 0o777: "0777", 0o720: "0720", 0o777 | fs.ModeSticky: "01777"} {
		p := newPlace(t)
		require.NoError(t, os.Chmod(p.dir, mode))
		if text == "" {
			require.NoError(t, private.Dir(p.dir))
			require.NoError(t, private.Data(p.dir))
			require.NoError(t, private.File(p.file))
			continue
		}
		remedy := "chmod go-w " + p.dir
		if mode&fs.ModeSticky != 0 {
			remedy = "it is shared on purpose: name something below it" // it may be /tmp
		}
		refused(t, private.Dir(p.dir), p.dir, text, remedy)
		refused(t, private.Data(p.dir), p.dir, text, remedy)
		if mode&fs.ModeSticky != 0 {
			require.NoError(t, private.File(p.file), "what is ours in a sticky directory stays")
		} else {
			refused(t, private.File(p.file), p.dir, text, "chmod go-w "+p.dir)
		}
	}
	for mode, text := range map[fs.FileMode]string{0o600: "", 0o644: "", 0o400: "", 0o620: "0620", 0o602: "0602", 0o666: "0666"} {
		p := newPlace(t)
		require.NoError(t, os.Chmod(p.file, mode))
		if text == "" {
			require.NoError(t, private.File(p.file))
			require.NoError(t, private.Data(p.dir))
			continue
		}
		refused(t, private.File(p.file), p.file, text, "chmod go-w "+p.file)
		refused(t, private.Data(p.dir), p.file, text, "chmod go-w "+p.file)
		require.NoError(t, private.Dir(p.dir), "that is about the directory alone")
	}
}

// A directory above lets others put another in the place of what is below, at any distance.
func TestAbove(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	require.NoError(t, os.Chmod(p.above, 0o777))
	for _, err := range []error{private.Dir(p.dir), private.Data(p.dir), private.File(p.file)} {
		refused(t, err, p.above, "0777", "chmod go-w "+p.above)
		require.ErrorContains(t, err, "replace dir")
	}
	require.NoError(t, os.Chmod(p.above, 0o777|fs.ModeSticky))
	require.NoError(t, private.Dir(p.dir))
	require.NoError(t, private.File(p.file))
}

// Whose directory or file it is counts, too: its owner may write whatever the mode says.
func TestOwner(t *testing.T) {
	t.Parallel()
	needs.Root(t)
	const other = 12345
	chown := func(path string) { require.NoError(t, os.Lchown(path, other, other)) }
	p := newPlace(t)
	chown(p.file)
	for _, err := range []error{private.File(p.file), private.Data(p.dir)} {
		refused(t, err, p.file, "uid 12345", "chown 0 "+p.file+", or run this as its owner")
	}
	require.NoError(t, private.Dir(p.dir))
	p = newPlace(t)
	chown(p.dir)
	refused(t, private.Dir(p.dir), p.dir, "uid 12345", "chown 0 "+p.dir+", or run this as its owner")
	refused(t, private.File(p.file), p.dir, "uid 12345", "chown 0 "+p.dir+", or run this as its owner")
	p = newPlace(t)
	chown(p.above)
	refused(t, private.Dir(p.dir), p.above, "uid 12345", "chown 0 "+p.above+", or run this as its owner")
	// The sticky bit protects what is ours, and not what is theirs.
	p = newPlace(t)
	require.NoError(t, os.Chmod(p.above, 0o777|fs.ModeSticky))
	require.NoError(t, private.Dir(p.dir))
	chown(p.dir)
	refused(t, private.Dir(p.dir), p.dir, "uid 12345", "chown 0 "+p.dir+", or run this as its owner")
	link := filepath.Join(p.above, "link")
	target := newPlace(t)
	require.NoError(t, os.Symlink(target.dir, link))
	require.NoError(t, private.Dir(link))
	chown(link)
	refused(t, private.Dir(link), link, "uid 12345", "chown 0 "+link+", or run this as its owner")
}

// Of a symbolic link both count: where it is, and what it points to with all that is on the way.
func TestLinks(t *testing.T) {
	t.Parallel()
	p, elsewhere := newPlace(t), newPlace(t)
	absolute, relative := filepath.Join(elsewhere.dir, "absolute"), filepath.Join(p.dir, "relative")
	require.NoError(t, os.Symlink(p.file, absolute))
	require.NoError(t, os.Symlink("../dir/./file", relative))
	toDir := filepath.Join(elsewhere.dir, "to-dir")
	require.NoError(t, os.Symlink(p.dir, toDir))
	all := []string{absolute, relative, filepath.Join(toDir, "file"), filepath.Join(toDir, "relative")}
	each := func(judge func(error)) {
		t.Helper()
		for _, path := range all {
			judge(private.File(path))
		}
	}
	each(func(err error) { require.NoError(t, err) })
	require.NoError(t, private.Data(p.dir))
	require.NoError(t, os.Chmod(p.file, 0o666))
	each(func(err error) { refused(t, err, p.file, "0666", "chmod go-w "+p.file) })
	require.NoError(t, os.Chmod(p.file, 0o600))
	require.NoError(t, os.Chmod(p.above, 0o777))
	each(func(err error) { refused(t, err, p.above, "0777", "chmod go-w "+p.above) })
	require.NoError(t, os.Chmod(p.above, 0o700))
	require.NoError(t, os.Chmod(elsewhere.dir, 0o777))
	refused(t, private.File(absolute), elsewhere.dir, "0777", "chmod go-w "+elsewhere.dir)
	require.NoError(t, private.File(relative))

	loop := filepath.Join(p.dir, "loop")
	require.NoError(t, os.Symlink(loop, loop))
	require.ErrorContains(t, private.File(loop), "too many symbolic links")
	require.Error(t, private.Data(p.dir))
}

func TestNothingThere(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for _, path := range []string{filepath.Join(p.dir, "none"), filepath.Join(p.above, "none", "file")} {
		require.ErrorIs(t, private.File(path), fs.ErrNotExist)
		require.ErrorIs(t, private.Dir(path), fs.ErrNotExist)
		require.ErrorIs(t, private.Data(path), fs.ErrNotExist)
	}
	// What is made by the name of a link to nothing comes to be where it points to.
	link := filepath.Join(p.dir, "dangling")
	for _, target := range []string{"none", "../none", filepath.Join(p.above, "none", "file")} {
		require.NoError(t, os.Symlink(target, link))
		require.EqualError(t, private.Data(p.dir), link+" points to nothing: remove it")
		require.NoError(t, private.Dir(p.dir), "that is about the directory alone")
		require.NoError(t, os.Remove(link))
		require.NoError(t, private.Data(p.dir))
	}
}

// What is neither a file nor a directory is not opened, and a mode that it needs is not called wrong.
func TestNoFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	none := func(path, is string) {
		t.Helper()
		link := filepath.Join(p.dir, "link")
		require.NoError(t, os.Symlink(path, link))
		for _, name := range []string{path, link} {
			err := private.File(name)
			require.EqualError(t, err, name+" is "+is+", not a file")
			require.False(t, errors.As(err, new(*private.Error)), "it is not that others may write")
		}
		if filepath.Dir(path) == p.dir {
			require.NoError(t, os.Remove(link))
			link = path
		}
		require.EqualError(t, private.Data(p.dir), link+" is "+is+", not a file: remove it")
		require.NoError(t, os.Remove(link))
		require.NoError(t, private.Data(p.dir))
	}
	pipe, socket := filepath.Join(p.dir, "pipe"), filepath.Join(p.dir, "socket")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	none(pipe, "a named pipe")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	defer l.Close()
	none(socket, "a socket")
	none(os.DevNull, "a device")
	mkdir(t, filepath.Join(p.dir, "below"), 0o700)
	require.NoError(t, syscall.Mkfifo(filepath.Join(p.dir, "below", "pipe"), 0o600))
	require.NoError(t, private.Data(p.dir), "what is below is not looked at")
	require.NoError(t, os.Chmod(p.above, 0o777))
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	refused(t, private.File(pipe), p.above, "0777", "chmod go-w "+p.above)
}

// A path that is not absolute is one of the working directory.
func TestRelativePath(t *testing.T) {
	p := newPlace(t)
	t.Chdir(p.above)
	require.NoError(t, private.File(filepath.Join("dir", "file")))
	require.NoError(t, private.Dir("."))
	require.NoError(t, os.Chmod(p.dir, 0o777))
	refused(t, private.Dir("dir"), p.dir, "0777", "chmod go-w "+p.dir)
	refused(t, private.Dir("dir/../dir/"), p.dir, "0777", "chmod go-w "+p.dir)
}

// What is mounted read-only nobody changes, and what is mounted over a directory that others may write stays where it
// is only as long as that does.
func TestReadOnly(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, os.Chmod(p.dir, 0o777))
	require.NoError(t, os.Chmod(p.file, 0o666))
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(p.file, 12345, 12345))
		require.NoError(t, os.Chown(p.dir, 12345, 12345))
	}
	require.Error(t, private.File(p.file))
	restore := private.ReadOnly(func(path string) bool { return strings.HasPrefix(path, p.dir) })
	defer restore()
	require.NoError(t, private.File(p.file))
	require.NoError(t, private.Dir(p.dir))
	require.NoError(t, private.Data(p.dir))
	require.NoError(t, os.Chmod(p.above, 0o777))
	refused(t, private.File(p.file), p.above, "0777", "chmod go-w "+p.above)
}
