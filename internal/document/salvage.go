package document

// Salvage returns an object without those of its fields that nobody can read: nested deeper than MaxDepth, or no JSON. Of
// the fields that are named in into, which are objects, it looks into the fields instead. It is for what was written before
// such values were refused: the object itself may be nested as deep as it likes. It returns the names of what it left out,
// with a dot between two levels; ok is false where b is no object, or leaves out nothing.
func Salvage(b []byte, into ...string) (out []byte, left []string, ok bool) {
	s := scanner{doc: b, lax: true}
	out, left, ok = s.salvage(make([]byte, 0, min(len(b), 1<<10)), "", into)
	return out, left, ok && len(left) > 0 && s.peek() == 0 && s.at == len(b)
}

// salvage copies an object, which comes next.
func (s *scanner) salvage(out []byte, path string, into []string) (_ []byte, left []string, ok bool) {
	if s.peek() != '{' {
		return out, nil, false
	}
	s.at++
	out = append(out, '{')
	for first := true; ; first = false {
		switch c := s.peek(); {
		case c == '}':
			s.at++
			return append(out, '}'), left, true
		case c == ',' && !first:
			s.at++
			s.peek()
		case !first:
			return out, left, false
		}
		start := s.at
		if s.name() != none {
			return out, left, false
		}
		name := s.doc[start:s.at] // with its colon
		field := path + fieldName(name)
		before := len(out)
		if out[before-1] != '{' {
			out = append(out, ',')
		}
		out = append(out, name...)
		if within(field, into) {
			var more []string
			if out, more, ok = s.salvage(out, field+".", into); !ok {
				return out, left, false
			}
			left = append(left, more...)
			continue
		}
		value := s.skip()
		if _, readable := Depth(value); readable {
			out = append(out, value...)
			continue
		}
		out, left = out[:before], append(left, field)
	}
}

// fieldName is the name of a field that is written as one of ours: without escapes.
func fieldName(quoted []byte) string {
	for i := 1; i < len(quoted); i++ {
		if quoted[i] == '"' {
			return string(quoted[1:i])
		}
	}
	return ""
}

func within(field string, into []string) bool {
	for _, name := range into {
		if name == field {
			return true
		}
	}
	return false
}

// skip returns a value that may be nested as deep as it likes. It only counts brackets, outside of strings: whether it is
// JSON is for others to say.
func (s *scanner) skip() []byte {
	s.peek()
	start, depth := s.at, 0
	for s.at < len(s.doc) {
		switch s.doc[s.at] {
		case '"':
			if s.text() != none {
				s.at = len(s.doc)
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 { // of the object around
				return s.doc[start:s.at]
			}
		case ',':
			if depth == 0 {
				return s.doc[start:s.at]
			}
		}
		s.at++
	}
	return s.doc[start:]
}
