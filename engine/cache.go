package engine

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/google/renameio/v2"
	vk "github.com/vulkan-go/vulkan"
)

// CacheDir is where vkalexnet keeps what it can make again: compiled
// pipelines. Empty when the system has no such place.
func CacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "vkalexnet")
}

// pipelineCacheFile is one file for each driver build: what another set of
// kernels left there is of no use any more and gets replaced.
func (d *Device) pipelineCacheFile() string {
	dir := CacheDir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "pipelines-"+d.DriverKey+".bin")
}

// pipelineCacheKey names everything that makes a cache useless when it changes:
// the driver's build, the device, and the kernels. Of the program itself nothing
// else goes into a pipeline.
func (d *Device) pipelineCacheKey() (string, error) {
	sum := sha256.New()
	names, err := fs.Glob(d.shaders, "*.spv") // sorted
	if err != nil {
		return "", err
	}
	for _, name := range names {
		module, err := fs.ReadFile(d.shaders, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n", name, len(module))
		sum.Write(module)
	}
	return fmt.Sprintf("%s %s %x", d.DriverKey, d.UUID, sum.Sum(nil)), nil
}

// sealCache is what is written for the driver's data: it begins with a checksum
// of the key and the data.
func sealCache(key string, data []byte) []byte {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %s", len(key), key)
	sum.Write(data)
	return append(sum.Sum(nil), data...)
}

// unsealCache gives the data back, or nothing where the content was sealed with
// another key or is not whole.
func unsealCache(key string, content []byte) []byte {
	if len(content) <= sha256.Size {
		return nil
	}
	data := content[sha256.Size:]
	if !bytes.Equal(sealCache(key, data), content) {
		return nil
	}
	return data
}

func (d *Device) openPipelineCache() {
	info := &vk.PipelineCacheCreateInfo{SType: vk.StructureTypePipelineCacheCreateInfo}
	var data []byte
	if file := d.pipelineCacheFile(); file != "" {
		content, err := os.ReadFile(file)
		key, keyErr := d.pipelineCacheKey()
		if err == nil && keyErr == nil {
			if data = unsealCache(key, content); data != nil {
				info.InitialDataSize = uint(len(data))
				info.PInitialData = unsafe.Pointer(&data[0])
			}
		}
	}
	var cache vk.PipelineCache
	if vk.CreatePipelineCache(d.handle, info, nil, &cache) >= 0 {
		d.cache = cache // without one, pipelines are only built more slowly
	}
	info.Free()
}

// savePipelineCache keeps the compiled pipelines for the next start. It is a
// convenience: nothing depends on its success.
func (d *Device) savePipelineCache() {
	if d.cache == nil {
		return
	}
	defer func() {
		vk.DestroyPipelineCache(d.handle, d.cache, nil)
		d.cache = nil
	}()
	file := d.pipelineCacheFile()
	if file == "" || d.alive() != nil {
		return
	}
	var size uint
	if vk.GetPipelineCacheData(d.handle, d.cache, &size, nil) < 0 || size == 0 {
		return
	}
	data := make([]byte, size)
	if vk.GetPipelineCacheData(d.handle, d.cache, &size, unsafe.Pointer(&data[0])) < 0 {
		return
	}
	key, err := d.pipelineCacheKey()
	if err != nil {
		return
	}
	content := sealCache(key, data[:size])
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, content) {
		return
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err == nil {
		_ = renameio.WriteFile(file, content, 0o644)
	}
}
