// Package shaders holds the compute kernels: GLSL sources, and the SPIR-V that
// they were compiled to (make shaders), which is what programs embed.
package shaders

import (
	"embed"
	"io/fs"
)

//go:embed spv/*.spv
var files embed.FS

// FS holds every kernel as <name>.spv.
var FS = func() fs.FS {
	sub, err := fs.Sub(files, "spv")
	if err != nil {
		panic(err)
	}
	return sub
}()
