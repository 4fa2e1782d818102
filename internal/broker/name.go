package broker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// DefaultPrefix begins the names of everything on a broker.
const DefaultPrefix = "miglink"

// Token is a VM's name as one part of a subject: what is not a letter, a digit, "-" or "_" is written as
// "=" and two hexadecimal digits for each byte.
func Token(vm string) string {
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

var errToken = errors.New("this is no name of a VM")

// VM is the name that a token stands for; each name has one token only.
func VM(token string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", errToken
		}
		c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", errToken
		}
		b.WriteByte(byte(c))
		i += 2
	}
	if b.Len() == 0 || Token(b.String()) != token {
		return "", errToken
	}
	return b.String(), nil
}

// Session says whether s can be the name of a link: a part of a subject without a meaning of its own.
func Session(s string) bool {
	for i := range len(s) {
		if !plain(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
