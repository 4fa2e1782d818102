package broker

import (
	"slices"
	"strings"

	"github.com/miglink/miglink/transport"
)

// Speaks returns an error that is transport.ErrNoBroker unless url has one of the schemes.
func Speaks(url, like string, schemes ...string) error {
	if url == "" {
		return transport.ErrNoBroker
	}
	scheme, _, _ := strings.Cut(url, "://")
	if slices.Contains(schemes, scheme) {
		return nil
	}
	return other(like)
}

// other is the error that a broker's URL is another's: it is to be like this.
type other string

func (o other) Error() string        { return "the broker's URL is to be like " + string(o) } // it may hold a password
func (o other) Is(target error) bool { return target == transport.ErrNoBroker }
