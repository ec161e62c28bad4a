package alexnet

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

//go:embed presets/*.toml
var presetFiles embed.FS

// Presets are the names of the networks that come with the program.
func Presets() []string {
	entries, err := fs.ReadDir(presetFiles, "presets")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".toml"))
	}
	slices.Sort(names)
	return names
}

// Load gives the network of a preset's name or of a TOML file.
func Load(nameOrPath string) (*Network, error) {
	if text, err := presetFiles.ReadFile("presets/" + nameOrPath + ".toml"); err == nil {
		return ParseNetwork(text, "preset "+nameOrPath)
	}
	text, err := os.ReadFile(nameOrPath)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(nameOrPath, `/\.`) {
		return nil, fmt.Errorf("model %q is neither a preset nor a file%s", nameOrPath, suggest(nameOrPath, Presets()))
	}
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	return ParseNetwork(text, nameOrPath)
}
