package lowest_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/lowest"
)

// Whatever the order in which names come, page after page gives all of them, sorted, each once.
func TestPages(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("vm-%d", i))
	}
	want := slices.Sorted(slices.Values(names))
	for _, limit := range []int{0, 1, 2, 7, 499, 500, 501} {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			page := lowest.After(after, limit)
			for _, n := range names {
				page.Add(n)
			}
			found := page.Sorted()
			if limit > 0 {
				require.LessOrEqual(t, len(found), limit)
			}
			if len(found) == 0 {
				break
			}
			got = append(got, found...)
		}
		require.Equal(t, want, got, "limit %d", limit)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	a, b := []string{"a", "c", "d"}, []string{"b", "c", "e"}
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, lowest.Merge(a, b, 0))
	require.Equal(t, []string{"a", "b", "c"}, lowest.Merge(a, b, 3))
	require.Equal(t, []string{"a", "c", "d"}, lowest.Merge(a, nil, 9))
	require.Equal(t, []string{"a", "c", "d"}, a, "what was given stays")
}
