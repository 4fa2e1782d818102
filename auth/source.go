package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/miglink/miglink/transport"
)

// File is the token in a file, which something else may replace at any time: it is read whenever it is asked for.
// Space around the token does not count. A file that is missing, empty or no token is an error that names it, and
// does not hold its content.
func File(path string) TokenSource {
	return func(context.Context) (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, 2*transport.MaxToken))
		if err != nil {
			return "", err
		}
		token := strings.TrimSpace(string(b))
		if err := checkToken(token); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return token, nil
	}
}

// Fixed is a token that does not change. What is no token is an error whenever it is asked for.
func Fixed(token string) TokenSource {
	token = strings.TrimSpace(token)
	err := checkToken(token)
	return func(context.Context) (string, error) {
		if err != nil {
			return "", err
		}
		return token, nil
	}
}

// checkToken says what keeps a token from going into a header.
func checkToken(token string) error {
	switch {
	case token == "":
		return errors.New("the token is empty")
	case len(token) > transport.MaxToken:
		return fmt.Errorf("the token has more than %d bytes", transport.MaxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the token holds spaces, or other characters that no token has")
	}
	return nil
}
