package private

// Accounts has a test say which files list the users and groups, and which user this process runs as, until it calls
// the result.
func Accounts(passwd, group string, uid int) (restore func()) {
	wasPasswd, wasGroup, was := passwdFile, groupFile, geteuid
	passwdFile, groupFile, geteuid = passwd, group, func() int { return uid }
	return func() { passwdFile, groupFile, geteuid = wasPasswd, wasGroup, was }
}
