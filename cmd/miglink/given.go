package main

import (
	"slices"

	"github.com/alecthomas/kong"
)

// given are the names of the flags on the command line. What comes from the environment, or from a file, may be meant for
// other commands, too.
func given(parsed *kong.Context) (names []string) {
	for _, p := range parsed.Path {
		if p.Flag != nil && !p.Resolved {
			names = append(names, p.Flag.Name)
		}
	}
	return names
}

// besideFile are the flags that send takes beside --file. All others are about one command, and would be ignored.
var besideFile = []string{"config", "file", "unknown-parameters", "resume", "wait", "retry", "controller", "token-file", "output", "ca", "cert", "cert-key", "insecure"}

// checkBesideFile refuses a flag that would be ignored beside --file.
func checkBesideFile(flags []string) error {
	for _, name := range flags {
		if !slices.Contains(besideFile, name) {
			return usage("--%s is for one command, and would be ignored beside --file: give it in the lines of the file, see --help", name)
		}
	}
	return nil
}

// checkEmpty refuses an argument that is given and empty, as that of a variable of a shell that is not set: it would count as
// none, which for a watch is every VM.
func checkEmpty(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		if p.Positional != nil && p.Positional.Target.IsZero() {
			return usage("the argument %s is empty", p.Positional.Summary())
		}
	}
	return nil
}
