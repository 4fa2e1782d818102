package nats

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	defaultPrefix = "miglink"
	queueGroup    = "miglink"
	moreHeader    = "Miglink-More"
)

// checkPrefix returns the prefix to use, or why it cannot be one.
func checkPrefix(prefix string) (string, error) {
	if prefix == "" {
		return defaultPrefix, nil
	}
	if strings.ContainsAny(prefix, " \t\r\n*>") || strings.HasPrefix(prefix, ".") || strings.HasSuffix(prefix, ".") || strings.Contains(prefix, "..") {
		return "", fmt.Errorf("%q is no prefix of subjects", prefix)
	}
	return prefix, nil
}

// token is a VM's name as one token of a subject: what is not a letter, a digit, "-" or "_" is written
// as "=" and two hexadecimal digits for each byte.
func token(vm string) string {
	var b strings.Builder
	for i := range len(vm) {
		if c := vm[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

var errToken = errors.New("nats: a subject holds no name of a VM")

// vmOf is the name that a token stands for; each name has one token only.
func vmOf(t string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		if t[i] != '=' {
			b.WriteByte(t[i])
			continue
		}
		if i+2 >= len(t) {
			return "", errToken
		}
		c, err := strconv.ParseUint(t[i+1:i+3], 16, 8)
		if err != nil {
			return "", errToken
		}
		b.WriteByte(byte(c))
		i += 2
	}
	if token(b.String()) != t {
		return "", errToken
	}
	return b.String(), nil
}
