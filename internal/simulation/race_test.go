//go:build race

package simulation_test

// plans is how many are played where nobody says. The race detector takes ten times as long for each, and fails by itself
// ("CHECK failed: tsan_rtl.cpp") once in some ten thousand: more are played without it.
const plans = 400
