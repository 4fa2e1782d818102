// Package lowest finds the first names, in order, among many that come in none, without keeping the rest.
package lowest

import (
	"container/heap"
	"slices"
)

// Names are the lowest names of those that were added. Make one with After.
type Names struct {
	after string
	limit int
	found largestFirst
}

// After keeps up to limit of the names that are greater than a name; a limit of 0 is no limit, and the empty name is less
// than all others. Names are compared byte by byte.
func After(name string, limit int) *Names { return &Names{after: name, limit: limit} }

// Add adds a name. Each is to be added once.
func (n *Names) Add(name string) {
	switch {
	case name <= n.after:
	case n.limit == 0 || len(n.found) < n.limit:
		heap.Push(&n.found, name)
	case name < n.found[0]:
		n.found[0] = name
		heap.Fix(&n.found, 0)
	}
}

// Sorted returns what was found. Nothing is to be added after it.
func (n *Names) Sorted() []string {
	slices.Sort(n.found)
	return n.found
}

// Merge returns the lowest names of two sorted lists, without those that are in both; up to limit, if it is not 0.
func Merge(a, b []string, limit int) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	all = slices.Compact(all)
	if limit > 0 {
		all = all[:min(limit, len(all))]
	}
	return all
}

// largestFirst is a heap.
type largestFirst []string

func (h largestFirst) Len() int           { return len(h) }
func (h largestFirst) Less(i, j int) bool { return h[i] > h[j] }
func (h largestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *largestFirst) Push(name any)     { *h = append(*h, name.(string)) }
func (h *largestFirst) Pop() any          { panic("nothing is taken out") }
