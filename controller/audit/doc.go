// Package audit keeps the records of package controller/admin in a file: who sent, cancelled and saw what.
//
// Each record is a line of JSON. Lines are only ever appended. That of a send or a cancel is on disk before the
// command is, so a file that says nothing of one means that there was none. A file that was moved away is left
// behind with the next record, and made anew, so that logrotate needs no signal; Reopen does it at once.
package audit
