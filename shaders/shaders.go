// Package shaders holds the compute kernels: GLSL sources, and the SPIR-V that
// they were compiled to (make shaders), which is what programs embed.
package shaders

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"sync"
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

// Hash tells one set of compiled kernels from another: results and times that
// were kept count only for the kernels that they are of.
var Hash = sync.OnceValue(func() string {
	sum := sha256.New()
	names, err := fs.Glob(FS, "*.spv") // sorted
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(FS, name)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(sum, "%s %d\n", name, len(data))
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))
})
