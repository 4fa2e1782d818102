package private

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// passwdFile and groupFile are where the system lists its users and groups. They are variables for tests.
var (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

// ownersAlone says whether nobody but its owner is in the group of a file, so that no other user gains from the
// group's permission to write.
//
// Ubuntu, Debian and Fedora give each user a group of the same name, a user private group, and most of their users the
// umask 002: all that such a user makes is group-writable, and is nobody else's for that.
//
// It believes only what /etc/passwd and /etc/group say. Where they are missing, do not list the user or the group, or
// refer to another source, the answer is no. So it is for what root owns: root's umask is 022, and root's group may have
// members in ways of its own.
func ownersAlone(path string, info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid != root && !hasACL(path) && privateGroup(s.Uid, s.Gid)
}

// hasACL says whether a path may have an access control list. The group's bits of its mode then tell what any user or
// group that is on the list may do.
func hasACL(path string) bool {
	_, err := syscall.Getxattr(path, "system.posix_acl_access", nil)
	return !errors.Is(err, syscall.ENODATA) && !errors.Is(err, syscall.ENOTSUP)
}

// privateGroup says whether a group is that of a user alone: it has the user's name, no other member, and is no other
// user's primary group.
func privateGroup(uid, gid uint32) bool {
	users, ok := readTable(passwdFile, 4)
	if !ok {
		return false
	}
	name := ""
	for _, u := range users { // name:password:uid:gid:...
		switch isUser, isPrimary := u.is(2, uid), u.is(3, gid); {
		case isUser && name == "":
			name = u[0]
		case isUser && name != u[0]:
			return false // two names of one user
		case !isUser && isPrimary:
			return false
		}
	}
	groups, ok := readTable(groupFile, 4)
	if !ok || name == "" {
		return false
	}
	found := false
	for _, g := range groups { // name:password:gid:members
		if !g.is(2, gid) {
			continue
		}
		if g[0] != name || g[3] != "" && g[3] != name {
			return false
		}
		found = true
	}
	return found
}

// entry is a line of a table of users or groups.
type entry []string

// is says whether a field is an ID.
func (e entry) is(field int, id uint32) bool {
	n, err := strconv.ParseUint(e[field], 10, 32)
	return err == nil && uint32(n) == id
}

// readTable reads a table of users or groups, whose entries have so many fields at least. A line that is no entry, such
// as + for the users of NIS, means that the file does not tell all.
func readTable(name string, fields int) ([]entry, bool) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, false
	}
	var table []entry
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		e := entry(strings.Split(line, ":"))
		if len(e) < fields || e[0] == "" || strings.ContainsRune("+-", rune(e[0][0])) {
			return nil, false
		}
		table = append(table, e)
	}
	return table, true
}
