package peerlog

// Counted is how many VMs' lines of a kind are counted one by one.
func (l *Log) Counted(msg string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.kinds[msg].vms)
}
