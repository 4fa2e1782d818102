//go:build unix && !linux

package private

import "io/fs"

// ownersAlone is not known on this system: no group may write.
func ownersAlone(string, fs.FileInfo) bool { return false }
