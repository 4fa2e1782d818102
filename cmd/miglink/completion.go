package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completing is the first argument with which a shell asks for words.
const completing = "__complete"

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is how to use it.
func (*completionCmd) Help() string {
	return "bash: source <(miglink completion bash)\n\nzsh: source <(miglink completion zsh)\n\nfish: miglink completion fish | source"
}

var completions = map[string]string{
	"bash": `_miglink() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _miglink miglink
`,
	"zsh": `_miglink() {
  local -a found
  found=(${(f)"$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  if (( $#found )); then compadd -- $found; else _files; fi
}
compdef _miglink miglink
`,
	"fish": `complete -c miglink -a '(miglink __complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

func (c *completionCmd) Run() error {
	_, err := fmt.Print(completions[c.Shell])
	return err
}

// complete prints what the last of words may become: a command, a flag, or a value of one. It prints nothing where a file
// may be meant.
func complete(w io.Writer, app *kong.Application, words []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	node, flags := app.Node, app.Flags
	var value *kong.Flag // whose value comes next
	for _, word := range words[:len(words)-1] {
		if word == "=" && value != nil { // bash makes three words of --flag=value
			continue
		}
		switch i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word }); {
		case value != nil:
			value = nil
		case strings.HasPrefix(word, "--"):
			j := slices.IndexFunc(flags, func(f *kong.Flag) bool { return "--"+f.Name == word })
			if j >= 0 && !flags[j].IsBool() {
				value = flags[j]
			}
		case i >= 0:
			node = node.Children[i]
			flags = append(slices.Clone(flags), node.Flags...)
		}
	}
	var found []string
	last, before := words[len(words)-1], ""
	if last == "=" && value != nil {
		last = ""
	}
	if name, _, ok := strings.Cut(last, "="); ok && value == nil {
		if j := slices.IndexFunc(flags, func(f *kong.Flag) bool { return "--"+f.Name == name }); j >= 0 {
			value, before = flags[j], name+"="
		}
	}
	switch {
	case value != nil:
		if value.Enum != "" {
			found = strings.Split(value.Enum, ",")
		}
	case strings.HasPrefix(last, "-"):
		for _, f := range flags {
			if !f.Hidden {
				found = append(found, "--"+f.Name)
			}
		}
	default:
		for _, n := range node.Children {
			if !n.Hidden {
				found = append(found, n.Name)
			}
		}
		if len(node.Positional) > 0 && node.Positional[0].Enum != "" {
			found = append(found, strings.Split(node.Positional[0].Enum, ",")...)
		}
	}
	for _, s := range found {
		if strings.HasPrefix(before+s, last) {
			fmt.Fprintln(w, before+s)
		}
	}
}
