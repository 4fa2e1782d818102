package uplink

import (
	"context"
	"io"
)

// canceling is a body that ends the time limit of its request when it is closed.
type canceling struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *canceling) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
