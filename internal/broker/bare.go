package broker

import "strings"

// Bare is an error of a library without the library's name before it.
func Bare(name string, err error) error {
	if s, ok := strings.CutPrefix(err.Error(), name+": "); ok {
		return &bare{s, err}
	}
	return err
}

type bare struct {
	says string
	err  error
}

func (b *bare) Error() string { return b.says }
func (b *bare) Unwrap() error { return b.err }
