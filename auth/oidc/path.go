package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// path is where a claim is: names of objects in objects.
type path []string

func parsePath(s string) (path, error) {
	var p path
	var name strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '.':
			p = append(p, name.String())
			name.Reset()
			continue
		case '\\':
			if i++; i == len(s) || s[i] != '.' && s[i] != '\\' {
				return nil, fmt.Errorf(`oidc: the path of a claim %q has a \ before what is neither . nor \`, s)
			}
		}
		name.WriteByte(s[i])
	}
	p = append(p, name.String())
	for _, name := range p {
		if name == "" {
			return nil, fmt.Errorf("oidc: the path of a claim %q has an empty name", s)
		}
	}
	return p, nil
}

// String is what parsePath reads.
func (p path) String() string {
	escape := strings.NewReplacer(`\`, `\\`, `.`, `\.`)
	names := make([]string, len(p))
	for i, name := range p {
		names[i] = escape.Replace(name)
	}
	return strings.Join(names, ".")
}

func (p path) lookup(claims map[string]any) (any, error) {
	var v any = claims
	for _, name := range p {
		object, _ := v.(map[string]any)
		found, ok := object[name]
		if !ok {
			return nil, fmt.Errorf("oidc: the token has no claim %s", p)
		}
		v = found
	}
	return v, nil
}

// text is a claim that is a string, a number or a truth.
func (p path) text(claims map[string]any) (string, error) {
	v, err := p.lookup(claims)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", errors.New("oidc: the claim " + p.String() + " is neither a string nor a number, nor true or false")
}
