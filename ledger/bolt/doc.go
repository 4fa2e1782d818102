// Package bolt is the embedded ledger: a log, and a bbolt file that is its archive, in a directory.
//
// All writes go through one goroutine, which takes what has queued up and appends it to the log with a single
// fsync; a lone write never waits for company. What is in the log, that is what is not settled or has been
// settled lately, is also kept in memory, so that reads on the way of a command touch no disk. What is
// settled is moved to the archive later, many at a time, and beside the writer; the log is written anew when
// most of it is past.
//
// Parameters are in the clear, in files that only their owner may read. Once a command is settled its secrets are
// dropped (ledger.Redact): at once from memory and from what is written of it from then on, so that none come into
// the archive. Earlier records of the log still hold them until it is written anew, which is at Close, at Open
// after a crash, and otherwise after SecretsStay at the latest; where the disk refuses, a minute after that, and
// so on. The file that was replaced is deleted, and what the disk does with its blocks is the disk's business.
package bolt
