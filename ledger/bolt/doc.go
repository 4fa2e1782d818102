// Package bolt is the embedded ledger: one bbolt file in a directory.
//
// All writes go through one goroutine, which takes what has queued up and commits it in a single
// transaction with a single fsync; a lone write never waits for company. What is recent, that is not
// settled or has been settled lately, is also kept in memory, so that reads on the way of a command touch
// no disk; the rest is in an archive on disk only, to which what is settled is moved, many at a time.
package bolt
