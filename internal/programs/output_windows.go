package programs

import "time"

// settle waits for the end of what is printed, which those who are left may put off for ever: so not for long. It says
// whether they may print more, which is read as long as they do.
func (o *output) settle() (open bool) {
	select {
	case <-o.copied:
		return false
	case <-time.After(time.Second):
		return true
	}
}
