// Package tests holds the tests that look at the project as a whole or need
// several packages and a device.
package tests

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mayImport says which of our packages each package may import: cmd → alexnet →
// optim → layers → engine. A package that is not listed may import everything.
var mayImport = map[string][]string{
	"engine":  {},
	"shaders": {},
	"loader":  {},
	"weights": {},
	"layers":  {"engine"},
	"optim":   {"engine", "layers"},
	"alexnet": {"engine", "layers", "optim", "loader", "weights", "shaders"},
	"server":  {"alexnet", "loader"},
	"bench":   {"engine"},
}

func TestImportsRunOneWay(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder := path.Dir(filepath.ToSlash(file)[len("../"):])
		allowed, restricted := mayImport[folder]
		seen[folder] = true
		for _, spec := range source.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			if strings.HasPrefix(name, "github.com/vulkan-go/") {
				require.Equal(t, "engine", folder, "%s imports %s: only engine talks to Vulkan", file, name)
			}
			ours, isOurs := strings.CutPrefix(name, "vkalexnet/")
			// Tests may reach across: a layer's test needs the shaders.
			if isOurs && restricted && ours != folder && !strings.HasSuffix(file, "_test.go") {
				require.Contains(t, allowed, ours, "%s imports %s", file, name)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for folder := range mayImport {
		require.True(t, seen[folder], "no Go file in %s: update this test's table", folder)
	}
}
