package command

import (
	"time"

	"github.com/google/uuid"
)

// Created is t as CreatedAt has it: in UTC, without what is less than a millisecond. Zero stays zero.
func Created(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// NewID is an ID that nobody has, and when it was made, for a Command's CreatedAt.
func NewID() (id string, created time.Time) {
	id = uuid.Must(uuid.NewV7()).String()
	return id, timeOf(id)
}

// timeOf is the time that an ID holds, if it is a UUID of version 7; else zero.
func timeOf(id string) time.Time {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 {
		return time.Time{}
	}
	ms := int64(0)
	for _, b := range u[:6] {
		ms = ms<<8 | int64(b)
	}
	if t := time.UnixMilli(ms).UTC(); t.Year() <= 9999 {
		return t
	}
	return time.Time{} // anybody may choose an ID
}

// Reused says whether two times of creation, of commands with one ID, are those of two commands. Zero says nothing, nor does
// one that is not in whole milliseconds: it may be another with each try.
func Reused(one, other time.Time) bool { return Exact(one) && Exact(other) && !one.Equal(other) }

// inexact is t as one that says nothing.
func inexact(t time.Time) time.Time {
	if Exact(t) {
		t = t.Add(time.Microsecond)
	}
	return t
}

// Exact says whether a time of creation says something: it is in whole milliseconds, and not zero.
func Exact(t time.Time) bool { return !t.IsZero() && t.Equal(Created(t)) }
