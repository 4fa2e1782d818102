//go:build unix

package private

// ReadOnly has a test say which paths are on a file system that is mounted read-only, until it calls the result.
func ReadOnly(f func(path string) bool) (restore func()) {
	before := readOnly
	readOnly = f
	return func() { readOnly = before }
}
