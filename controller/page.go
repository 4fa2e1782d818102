package controller

import (
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/pattern"
	"github.com/miglink/miglink/transport"
)

// Query asks for one page of a list. The zero value asks for the first. All lists are asked for in this way.
type Query struct {
	// After is Page.Next of the page before; empty begins.
	After string
	// Limit is the most that the page holds, up to MaxPage. Default: DefaultPage.
	Limit int
	// Match is a pattern that the VM's name has to match, as in a grant: "*" is any run of characters but "/", "**" any
	// run at all. Default: every VM.
	Match string
	// State is the state that is asked for: of a VM StateOnline, StateDetached or StateOffline, of a command its stage. Default: any.
	State string
}

// Page is a part of a list. It may hold fewer than were asked for, even none, and yet not be the last, where few of many
// are in the state, or match.
type Page[T any] struct {
	Items []T
	Next  string // Query.After of the page that follows; empty: this is the last
}

// How many elements a page may hold: unless something else is asked for, and at most.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

const (
	maxAfter = 2 * transport.MaxVM

	// maxScan bounds what is looked at for one page.
	maxScan = 10_000
)

// States of a VM, for Query.State.
const (
	StateOnline   = "online"   // a link for commands is open
	StateDetached = "detached" // none is, and the VM was heard of within its lease: it has stopped, or comes back
	StateOffline  = "offline"  // nothing was heard of it for longer
)

// checked is q with its defaults.
func (q Query) checked() (Query, error) {
	if q.Limit == 0 {
		q.Limit = DefaultPage
	}
	if q.Limit < 0 || q.Limit > MaxPage {
		return q, transport.Errorf(transport.CodeInvalid, "limit is %d, 1 to %d are allowed", q.Limit, MaxPage)
	}
	err := document.CheckText("after", q.After, maxAfter) // names of before may hold what is refused now
	if err == nil && q.Match != "" {
		err = document.CheckName("match", q.Match, transport.MaxVM)
	}
	if err != nil {
		return q, transport.Errorf(transport.CodeInvalid, "%s", err)
	}
	return q, nil
}

func (q Query) matches(vm string) bool { return q.Match == "" || pattern.Match(q.Match, vm) }
