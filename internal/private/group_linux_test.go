package private_test

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/internal/private"
)

// TestMain has no group be private but in tests that say so: whose group that of the tests is depends on the machine.
func TestMain(m *testing.M) {
	private.Accounts(os.DevNull, os.DevNull, os.Geteuid())
	os.Exit(m.Run())
}

// accounts are a user and a group, and files that list them.
type accounts struct {
	uid, gid      int
	passwd, group string
}

func newAccounts(t *testing.T) accounts {
	t.Helper()
	dir := t.TempDir()
	a := accounts{os.Getuid(), os.Getgid(), filepath.Join(dir, "passwd"), filepath.Join(dir, "group")}
	if a.uid == 0 {
		a.uid, a.gid = 12345, 12346
	}
	return a
}

// list writes the files, with the IDs for UID and GID, and uses them until the test ends.
func (a accounts) list(t *testing.T, passwd, group string) {
	t.Helper()
	ids := strings.NewReplacer("UID", fmt.Sprint(a.uid), "GID", fmt.Sprint(a.gid))
	require.NoError(t, os.WriteFile(a.passwd, []byte(ids.Replace(passwd)), 0o600))
	require.NoError(t, os.WriteFile(a.group, []byte(ids.Replace(group)), 0o600))
	t.Cleanup(private.Accounts(a.passwd, a.group, a.uid))
}

// own gives a path to the user and the group, with a mode.
func (a accounts) own(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, os.Chown(path, a.uid, a.gid))
	require.NoError(t, os.Chmod(path, mode))
}

const (
	others = "root:x:0:0:root:/root:/bin/sh\n# a comment\n\nbob:x:54321:54321::/home/bob:/bin/sh\n"
	ann    = "ann:x:UID:GID::/home/ann:/bin/sh\n"
	groups = "root:x:0:\nbob:x:54321:\nusers:x:100:ann,bob\n"
)

// A group that only the owner is in may write; everybody never may.
func TestUserPrivateGroup(t *testing.T) {
	for name, test := range map[string]struct {
		passwd, group string
		private       bool
	}{
		"private":                      {others + ann, groups + "ann:x:GID:\n", true},
		"the user as a member":         {others + ann, groups + "ann:x:GID:ann\n", true},
		"no primary group":             {others + "ann:x:UID:100::/:\n", groups + "ann:x:GID:\n", true},
		"another member":               {others + ann, groups + "ann:x:GID:bob\n", false},
		"both as members":              {others + ann, groups + "ann:x:GID:ann,bob\n", false},
		"another user's primary group": {others + ann + "eve:x:54322:GID::/:\n", groups + "ann:x:GID:\n", false},
		"the name of another user":     {others + ann, groups + "bob:x:GID:\n", false},
		"no user's name":               {others + ann, groups + "staff:x:GID:\n", false},
		"two names of the group":       {others + ann, groups + "ann:x:GID:\nstaff:x:GID:bob\n", false},
		"two names of the user":        {others + ann + "anna:x:UID:GID::/:\n", groups + "ann:x:GID:\n", false},
		"group not listed":             {others + ann, groups, false},
		"user not listed":              {others, groups + "ann:x:GID:\n", false},
		"users of NIS, too":            {others + ann + "+::::::\n", groups + "ann:x:GID:\n", false},
		"groups of NIS, too":           {others + ann, groups + "ann:x:GID:\n+\n", false},
		"nothing listed":               {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			a, p := newAccounts(t), newPlace(t)
			a.list(t, test.passwd, test.group)
			a.own(t, p.above, 0o775)
			a.own(t, p.dir, 0o775)
			a.own(t, p.file, 0o664)
			if test.private {
				require.NoError(t, private.Data(p.dir))
				require.NoError(t, private.File(p.file))
			} else {
				refused(t, private.Data(p.dir), p.above, "0775", "chmod go-w "+p.above)
				a.own(t, p.above, 0o755)
				refused(t, private.Dir(p.dir), p.dir, "0775", "chmod go-w "+p.dir)
				a.own(t, p.dir, 0o755)
				refused(t, private.File(p.file), p.file, "0664", "chmod go-w "+p.file)
			}
			a.own(t, p.above, 0o755)
			for _, mode := range []fs.FileMode{0o777, 0o757} {
				a.own(t, p.dir, mode)
				refused(t, private.Dir(p.dir), p.dir, fmt.Sprintf("%#04o", mode), "chmod go-w "+p.dir)
			}
		})
	}
}

// Files that cannot be read tell nothing.
func TestNoAccountFiles(t *testing.T) {
	for _, missing := range []string{"passwd", "group"} {
		a, p := newAccounts(t), newPlace(t)
		a.list(t, others+ann, groups+"ann:x:GID:\n")
		a.own(t, p.dir, 0o775)
		require.NoError(t, private.Dir(p.dir))
		require.NoError(t, os.Remove(filepath.Join(filepath.Dir(a.passwd), missing)))
		refused(t, private.Dir(p.dir), p.dir, "0775", "chmod go-w "+p.dir)
	}
}

// What root owns is refused, whatever its group.
func TestGroupOfRoot(t *testing.T) {
	needs.Root(t)
	p := newPlace(t)
	a := newAccounts(t)
	a.uid, a.gid = 0, 0
	a.list(t, "root:x:0:0::/root:/bin/sh\n", "root:x:0:\n")
	a.own(t, p.dir, 0o775)
	refused(t, private.Dir(p.dir), p.dir, "0775", "chmod go-w "+p.dir)
}

// An access control list lets others write, and shows in the group's bits of the mode.
func TestAccessControlList(t *testing.T) {
	a, p := newAccounts(t), newPlace(t)
	a.list(t, others+ann, groups+"ann:x:GID:\n")
	a.own(t, p.dir, 0o775)
	require.NoError(t, private.Dir(p.dir))
	acl := binary.LittleEndian.AppendUint32(nil, 2) // its version
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, 7, 1<<32 - 1}, {0x02, 7, 54321}, {0x04, 5, 1<<32 - 1}, {0x10, 7, 1<<32 - 1}, {0x20, 5, 1<<32 - 1}} { // owner, bob, group, mask, everybody
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.perm)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	needs.Machine(t, syscall.Setxattr(p.dir, "system.posix_acl_access", acl, 0), "no access control lists on the disk of "+p.dir)
	refused(t, private.Dir(p.dir), p.dir, "0775", "chmod go-w "+p.dir)
}
