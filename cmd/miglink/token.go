package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

type tokenCmd struct {
	Keys     string        `required:"" help:"Directory of the controller's keys." placeholder:"DIR"`
	NewKey   bool          `help:"Make the first key, or the next: it signs from now on. Delete an old one once its tokens have expired."`
	VM       string        `help:"A token for this VM." placeholder:"ID"`
	VMs      []string      `name:"vms" help:"A token for a relay that speaks for the VMs of this pattern: * is any characters but /, and ** any at all. Repeatable." placeholder:"PATTERN" sep:"none"`
	Operator string        `help:"A token for this operator." placeholder:"NAME"`
	Grant    []string      `help:"What the operator may do: read, send or settle, for all, or for types and VMs, as in send:drain@pool-*, with patterns as in --vms. Repeatable." placeholder:"GRANT" sep:"none"`
	TTL      time.Duration `name:"ttl" default:"1h" help:"How long the token is good."`
	Out      string        `help:"File to write the token to, instead of standard output. It takes the place of one that is there, and only its owner may read it." placeholder:"FILE"`
}

func (c *tokenCmd) Run(parsed *kong.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	if !c.wanted() && slices.Contains(given(parsed), "ttl") {
		return usage("--ttl is for a token, and would be ignored: a key is good until its file is deleted")
	}
	if c.NewKey {
		kid, err := auth.NewKey(c.Keys)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		fmt.Fprintf(os.Stderr, "key: %s\n", filepath.Join(c.Keys, kid+".pem"))
		if !c.wanted() {
			return nil
		}
	}
	keys, err := auth.OpenKeys(c.Keys, auth.KeysOptions{})
	if err != nil {
		if errors.Is(err, auth.ErrNoKeys) || errors.Is(err, fs.ErrNotExist) {
			return usage("%w (--new-key makes one)", err)
		}
		return &exitError{exitUsage, err}
	}
	claims, audience := c.claims()
	token, err := keys.Issue(claims, audience)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if c.Out != "" {
		err = writePrivate(c.Out, token+"\n")
	} else {
		_, err = fmt.Println(token)
	}
	if err != nil {
		return usage("the token was not written: %w", err)
	}
	fmt.Fprintf(os.Stderr, "token: %s, good until %s\n", c.whose(), claims.Expires.Format(time.RFC3339))
	return nil
}

// writePrivate puts a file that only its owner may read in the place of name, all at once: an agent may be reading it. Where
// name is a link, that is in the place of what it leads to. Only a file is replaced: root could replace /dev/null.
func writePrivate(name, text string) error {
	switch target, err := filepath.EvalSymlinks(name); {
	case err == nil:
		name = target
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
			return errors.Join(err, fmt.Errorf("%s is there and no file; without --out the token goes to standard output", name))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("%s is a link that leads to nothing", name)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*.token") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // nobody knows of it
	}
	return err
}

// wanted says whether a token is asked for.
func (c *tokenCmd) wanted() bool { return c.VM != "" || len(c.VMs) > 0 || c.Operator != "" }

func (c *tokenCmd) check() error {
	switch {
	case !c.wanted() && !c.NewKey:
		return usage("token wants one of --vm, --vms, --operator and --new-key")
	case !c.wanted() && c.Out != "":
		return usage("--out is for a token, and none is asked for")
	case c.VM != "" && len(c.VMs) > 0:
		return usage("--vm is for one VM, --vms for a relay that speaks for many")
	case c.Operator != "" && (c.VM != "" || len(c.VMs) > 0):
		return usage("a token is a VM's or an operator's, not both")
	case c.Operator != "" && len(c.Grant) == 0:
		return usage("--operator without --grant may do nothing")
	case c.Operator == "" && len(c.Grant) > 0:
		return usage("--grant is for --operator")
	case c.TTL < time.Second:
		return usage("--ttl is less than a second")
	}
	if c.VM != "" {
		if err := transport.ValidateVM(c.VM); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	if _, err := admin.ParseGrants(c.Grant); err != nil {
		return usage("--grant: %w", err)
	}
	for _, pattern := range c.VMs {
		if err := auth.CheckVMPattern(pattern); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	return nil
}

func (c *tokenCmd) claims() (auth.Claims, string) {
	claims := auth.Claims{Subject: c.VM, VMs: c.VMs, Expires: time.Now().Add(c.TTL)}
	if c.Operator != "" {
		claims.Subject, claims.Grants = c.Operator, c.Grant
		return claims, auth.AudienceOperator
	}
	if len(c.VMs) > 0 {
		claims.Subject = "relay"
	}
	return claims, auth.AudienceAgent
}

// whose says whom the token is for.
func (c *tokenCmd) whose() string {
	switch {
	case c.Operator != "":
		return fmt.Sprintf("operator %s with %q", c.Operator, c.Grant)
	case c.VM != "":
		return "VM " + c.VM
	}
	return fmt.Sprintf("a relay for %q", c.VMs)
}
