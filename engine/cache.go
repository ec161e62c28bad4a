package engine

import (
	"bytes"
	"crypto/sha256"
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

// pipelineCacheFile is named after everything that makes a cache useless when
// it changes; the file begins with a checksum, so that a damaged one is ignored.
func (d *Device) pipelineCacheFile() string {
	dir := CacheDir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "pipelines-"+d.DriverKey+".bin")
}

func (d *Device) openPipelineCache() {
	info := &vk.PipelineCacheCreateInfo{SType: vk.StructureTypePipelineCacheCreateInfo}
	var data []byte
	if file := d.pipelineCacheFile(); file != "" {
		if raw, err := os.ReadFile(file); err == nil && len(raw) > sha256.Size {
			sum := sha256.Sum256(raw[sha256.Size:])
			if bytes.Equal(sum[:], raw[:sha256.Size]) {
				data = raw[sha256.Size:]
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
	sum := sha256.Sum256(data[:size])
	content := append(sum[:], data[:size]...)
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, content) {
		return
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err == nil {
		_ = renameio.WriteFile(file, content, 0o644)
	}
}
