// Command licenses prints LICENSES.md: every module that a program of ours links, and its licence. It fails where
// it cannot tell a licence, or one is not among those that may be linked without thinking.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// programs are what is linked into what users build, by what they are called.
var programs = []struct{ name, packages string }{
	{"an agent over WebSocket", "./agent ./transport/ws"},
	{"miglink", "./cmd/miglink"},
}

const (
	module = "github.com/miglink/miglink"
	head   = `# Licences

Every module that is linked into an agent over WebSocket, and into the program ` + "`miglink`" + `, which has all transports,
ledgers and the benchmarks. All of these licences allow use in closed programs.
` + "`make licenses`" + ` writes this page.

| module | licence | agent over ws |
| --- | --- | --- |
`
)

// known licences, by words that only their texts have, the more special first.
var known = []struct {
	name  string
	words []string
}{
	{"Apache-2.0", []string{"Apache License", "Version 2.0"}},
	{"BSD-3-Clause", []string{"Redistribution and use in source and binary forms", "Neither the name"}},
	{"BSD-2-Clause", []string{"Redistribution and use in source and binary forms"}},
	{"ISC", []string{"Permission to use, copy, modify, and/or distribute this software for any purpose"}},
	{"MIT", []string{"Permission is hereby granted, free of charge, to any person obtaining a copy"}},
}

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	small, err := modules(programs[0].packages)
	if err != nil {
		return err
	}
	all, err := modules(programs[1].packages)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	page, bad := head, error(nil)
	for _, name := range names {
		licence, err := licenceOf(all[name])
		bad = errors.Join(bad, err)
		mark := ""
		if small[name] != "" {
			mark = "yes"
		}
		page += fmt.Sprintf("| %s | %s | %s |\n", name, licence, mark)
	}
	_, err = io.WriteString(out, page)
	return errors.Join(bad, err)
}

// modules are those that packages link, with the directories of their sources.
func modules(packages string) (map[string]string, error) {
	args := append([]string{"list", "-deps", "-json=Module"}, strings.Fields(packages)...)
	b, err := exec.Command("go", args...).Output() //nolint:noctx // it ends with this program
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	found := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(b))); d.More(); {
		var p struct{ Module *struct{ Path, Dir string } }
		if err := d.Decode(&p); err != nil {
			return nil, err
		}
		if p.Module != nil && p.Module.Path != module {
			found[p.Module.Path] = p.Module.Dir
		}
	}
	return found, nil
}

// licenceOf reads the licence of a module's sources.
func licenceOf(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "[LC][IOio][CPcp]*")) // LICENSE, License, COPYING, with or without an ending
	if err != nil {
		return "", err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		if name := identify(string(b)); name != "" {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s has no licence that is known here", dir)
}

// identify returns the name of a licence, or nothing.
func identify(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, l := range known {
		if !slices.ContainsFunc(l.words, func(w string) bool { return !strings.Contains(text, w) }) {
			return l.name
		}
	}
	return ""
}
