package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/miglink/miglink/internal/strict"
)

// notInFile are the flags that a file cannot have.
var notInFile = []string{"config", "help", "version"}

// BeforeResolve reads the file of --config: what it says counts where neither a flag nor the environment does.
func (c *cli) BeforeResolve(parsed *kong.Context) error {
	name := c.Config
	for _, p := range parsed.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			name, _ = parsed.FlagValue(p.Flag).(string)
		}
	}
	if name == "" {
		return nil
	}
	b, err := readSmall(name)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	values, err := readConfig(b, parsed.Flags())
	if err != nil {
		return fmt.Errorf("--config %s: %w", name, err)
	}
	parsed.AddResolver(values)
	return nil
}

// config is the values of a file, by the names of flags: text, or a list of it.
type config map[string]any

// readConfig reads a YAML document that names flags, those given.
func readConfig(b []byte, flags []*kong.Flag) (config, error) {
	known := map[string]*kong.Flag{}
	var names []string
	for _, f := range flags {
		if !f.Hidden && !slices.Contains(notInFile, f.Name) {
			known[f.Name] = f
			names = append(names, f.Name)
		}
	}
	var doc, more yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(b))
	switch err := in.Decode(&doc); {
	case errors.Is(err, io.EOF): // nothing is in it
		return nil, nil
	case err != nil:
		return nil, err
	case doc.Content[0].Kind != yaml.MappingNode:
		return nil, errors.New("it is to have lines like \"listen: 127.0.0.1:8080\", with the names of flags")
	case !errors.Is(in.Decode(&more), io.EOF):
		return nil, errors.New("it has more than one document, of which only the first would be read")
	}
	values := config{}
	for pair := range slices.Chunk(doc.Content[0].Content, 2) {
		name, node := pair[0].Value, pair[1]
		f, ok := known[name]
		switch _, twice := values[name]; {
		case !ok:
			return nil, fmt.Errorf("line %d: %w", pair[0].Line, strict.Unknown("flag", name, names))
		case twice:
			return nil, fmt.Errorf("line %d: %s is there twice", pair[0].Line, name)
		}
		v, err := valueOf(node, f)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", node.Line, name, err)
		}
		values[name] = v
	}
	return values, nil
}

// valueOf is a value of a flag: what would stand on the command line. It is the text of the file, not what YAML makes of it,
// to which 1.10 is 1.1, and 010 is 8.
func valueOf(node *yaml.Node, f *kong.Flag) (any, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if text, ok := textOf(node); ok {
		return text, nil
	}
	switch kind := f.Target.Kind(); {
	case node.Kind == yaml.SequenceNode && kind == reflect.Slice:
		list, texts := []any{}, []string{}
		for i, n := range node.Content {
			text, ok := textOf(n)
			if !ok {
				return nil, fmt.Errorf("value %d is not text, or a number", i+1)
			}
			list, texts = append(list, text), append(texts, text)
		}
		if f.Target.Type().Elem().Kind() == reflect.String {
			return list, nil
		}
		return kong.JoinEscaped(texts, f.Tag.Sep), nil
	case node.Kind == yaml.MappingNode && kind == reflect.Map:
		var pairs []string
		seen := map[string]bool{}
		for pair := range slices.Chunk(node.Content, 2) {
			name := pair[0].Value
			if seen[name] {
				return nil, fmt.Errorf("%s is there twice", name)
			}
			seen[name] = true
			text, ok := textOf(pair[1])
			if !ok {
				return nil, fmt.Errorf("the value of %s is not text, or a number", name)
			}
			pairs = append(pairs, name+"="+text)
		}
		return kong.JoinEscaped(pairs, f.Tag.MapSep), nil
	}
	return nil, errors.New("it has no value that this flag can have")
}

// textOf is the text of a scalar: of 1.10 not 1.1.
func textOf(node *yaml.Node) (text string, ok bool) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node.Value, node.Kind == yaml.ScalarNode && node.Tag != "!!null"
}

// Validate implements kong.Resolver.
func (config) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (c config) Resolve(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	for _, name := range f.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	return c[f.Name], nil
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Say whether a file of --config is good for a command, without running it."`
}

type configCheckCmd struct {
	Command string `arg:"" help:"The command that it is for, like controller or agent."`
	File    string `arg:"" help:"The file."`
}

func (c *configCheckCmd) Run() error {
	parser := newParser(&cli{}, io.Discard)
	parsed, err := parser.Parse([]string{c.Command, "--config", c.File})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if able, ok := parsed.Selected().Target.Addr().Interface().(interface{ check() error }); ok {
		if err := able.check(); err != nil {
			return err
		}
	}
	_, err = fmt.Printf("%s: good for miglink %s\n", c.File, c.Command)
	return err
}

// maxConfig is the size of the largest file of --config, in bytes.
const maxConfig = 1 << 20

// readSmall reads a file that somebody may have named by mistake, as a device that has no end.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = fmt.Errorf("%s has more than %d bytes", name, maxConfig)
	}
	return b, err
}
