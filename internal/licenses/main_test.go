package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// LICENSES.md is what the program prints, so a dependency that comes or goes, or changes its licence, is noticed.
func TestCurrent(t *testing.T) {
	t.Chdir("../..")
	var b strings.Builder
	require.NoError(t, run(&b))
	page, err := os.ReadFile("LICENSES.md")
	require.NoError(t, err)
	require.Equal(t, string(page), b.String(), "make licenses")
}

func TestUnknown(t *testing.T) {
	dir := t.TempDir()
	_, err := licenceOf(dir)
	require.ErrorContains(t, err, "no licence")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "LICENSE.txt"), []byte("All rights reserved."), 0o600))
	_, err = licenceOf(dir)
	require.ErrorContains(t, err, "no licence")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "COPYING"), []byte("Permission is hereby\ngranted, free of charge, to any\n person obtaining a copy of"), 0o600))
	name, err := licenceOf(dir)
	require.NoError(t, err)
	require.Equal(t, "MIT", name)
}
