//go:build unix

package programs

import (
	"errors"
	"os/exec"
	"syscall"
)

// group is a process group. Its ID is the process ID of the program that began it, and no process gets that ID as long as the
// group has a member.
type group struct{ id int }

// start starts cmd in a group of its own.
func start(cmd *exec.Cmd) (*group, error) {
	cmd.SysProcAttr = attributes()
	if err := children.start(cmd); err != nil {
		return nil, err
	}
	return &group{cmd.Process.Pid}, nil
}

// wait returns how the program has ended. It is called once.
func (g *group) wait(cmd *exec.Cmd) error {
	defer children.ended(g.id)
	return cmd.Wait()
}

// ask says whether the group is left time to end.
func (g *group) ask() bool {
	_ = syscall.Kill(-g.id, syscall.SIGTERM) // alive says what came of it
	return true
}

func (g *group) kill() { _ = syscall.Kill(-g.id, syscall.SIGKILL) }

// alive says whether a process of the group runs. What has ended and waits for its parent to look, a zombie, does not: in a
// container nobody may ever look.
func (g *group) alive() bool {
	if errors.Is(syscall.Kill(-g.id, 0), syscall.ESRCH) {
		return false
	}
	running, err := members(g.id)
	return err != nil || len(running) > 0
}

func (g *group) leave() {}
func (g *group) close() {}

// groupOf is the group of that ID, whoever has it.
func groupOf(id int) *group { return &group{id} }
