package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// onOneCPU keeps this process, and those that it starts from now on, to one CPU until restore is called:
// there, what the code costs counts, and how fast the system wakes another CPU does not.
func onOneCPU() (restore func(), err error) {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("bench: one CPU: %w", err)
	}
	cpu := 0
	for !before.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	if err := keepTo(&one); err != nil {
		_ = keepTo(&before) // as far as it goes
		return nil, fmt.Errorf("bench: one CPU: %w", err)
	}
	threads := runtime.GOMAXPROCS(1)
	return func() {
		_ = keepTo(&before) // what was allowed once is again
		runtime.GOMAXPROCS(threads)
	}, nil
}

// keepTo keeps each thread to some CPUs. A thread starts where the one is that made it, so once a round has
// found nothing to change there is none left elsewhere.
func keepTo(cpus *unix.CPUSet) error {
	for changed := true; changed; {
		changed = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			var now unix.CPUSet
			if unix.SchedGetaffinity(id, &now) != nil || now == *cpus { // it may have ended
				continue
			}
			if err := unix.SchedSetaffinity(id, cpus); err != nil && err != unix.ESRCH {
				return err
			}
			changed = true
		}
	}
	return nil
}
