// Package bolt is the embedded ledger: a log, and a bbolt file that is its archive, in a directory.
//
// All writes go through one goroutine, which takes what has queued up and appends it to the log with a single
// fsync; a lone write never waits for company. What is in the log, that is what is not settled or has been
// settled lately, is also kept in memory, so that reads on the way of a command touch no disk. What is
// settled is moved to the archive later, many at a time, and beside the writer; the log is written anew when
// most of it is past.
package bolt
