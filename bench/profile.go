package bench

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// profileEnv names the file for the profile of a process of agents.
const profileEnv = "MIGLINK_BENCH_PROFILE"

// profile writes what the CPU does to a file until stop is called.
func profile(file string) (stop func(), err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}
