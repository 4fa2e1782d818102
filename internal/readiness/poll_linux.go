package readiness

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Supported says whether the system has what On needs.
const Supported = true

// poll is an epoll instance, and a goroutine that is there while there are waits. Go's own poller watches it.
type poll struct {
	fd    int
	file  *os.File // of fd
	waits map[uint64]*Wait
}

var (
	mu      sync.Mutex // guards these, and the waits of a poll
	current *poll      // nil: there are no waits
	lastID  uint64
)

func on(raw syscall.RawConn, ready func()) (*Wait, bool) {
	mu.Lock()
	defer mu.Unlock()
	if current == nil {
		p, err := newPoll()
		if err != nil {
			return nil, false
		}
		current = p
	}
	lastID++
	w := &Wait{poll: current, id: lastID, ready: ready}
	current.waits[w.id] = w
	var err error
	if e := raw.Control(func(fd uintptr) { err = w.poll.watch(int(fd), w.id) }); e != nil || err != nil {
		w.forget()
		return nil, false
	}
	return w, true
}

// Stop has ready called now, unless it was.
func (w *Wait) Stop() {
	mu.Lock()
	defer mu.Unlock()
	w.over()
}

// over ends a wait that is not over. mu is locked.
func (w *Wait) over() {
	if w.poll.waits[w.id] == w {
		w.forget()
		go w.ready()
	}
}

// forget lets go of a wait, and of the poll with the last one. mu is locked.
func (w *Wait) forget() {
	p := w.poll
	delete(p.waits, w.id)
	if len(p.waits) == 0 {
		current = nil
		_ = p.file.SetReadDeadline(time.Unix(1, 0)) // ends run
	}
}

func newPoll() (*poll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os would not have Go's poller watch it
		unix.Close(fd)
		return nil, err
	}
	p := &poll{fd: fd, file: os.NewFile(uintptr(fd), "epoll"), waits: map[uint64]*Wait{}}
	raw, err := p.file.SyscallConn()
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails where Go's poller does not take it
	}
	if err != nil {
		p.file.Close()
		return nil, err
	}
	go p.run(raw)
	return p, nil
}

// watch asks for one event of a socket.
func (p *poll) watch(socket int, id uint64) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, socket, &e)
	if err == unix.EEXIST { // it was watched before
		err = unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, socket, &e)
	}
	return err
}

func (p *poll) run(raw syscall.RawConn) {
	defer p.file.Close()
	events := make([]unix.EpollEvent, 64)
	_ = raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 {
				return false // until Go's poller sees more
			}
			p.fire(events[:n])
		}
	})
}

func (p *poll) fire(events []unix.EpollEvent) {
	mu.Lock()
	defer mu.Unlock()
	for i := range events {
		id := uint64(uint32(events[i].Fd)) | uint64(uint32(events[i].Pad))<<32
		if w := p.waits[id]; w != nil { // else it is over
			w.over()
		}
	}
}
