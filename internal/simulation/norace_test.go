//go:build !race

package simulation_test

// plans is how many are played where nobody says.
const plans = 2000
