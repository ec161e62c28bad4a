package weights

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Format is the form of a file of weights.
type Format string

// The forms that [ReadFile] reads.
const (
	Safetensors Format = "safetensors"
	Caffe       Format = "Caffe model"
	Torch       Format = "PyTorch file"
	ONNX        Format = "ONNX"
)

// ReadFile reads a file in any of the known formats, which its first bytes and
// its name tell apart. It takes no memory beyond a small multiple of the
// file's size, and runs nothing that is in it.
func ReadFile(path string) (*File, Format, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", fmt.Errorf("read weights: %w", err)
	}
	if info.IsDir() {
		return nil, "", fmt.Errorf("read weights %s: it is a folder; name a file", path)
	}
	if ext := strings.ToLower(filepath.Ext(path)); ext == ".safetensors" {
		f, err := ReadSafetensors(path) // without a second copy in memory
		return f, Safetensors, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("read weights: %w", err)
	}
	f, format, err := Parse(data, filepath.Ext(path))
	if err != nil {
		return nil, format, fmt.Errorf("read weights %s: %w", path, err)
	}
	return f, format, nil
}

// Parse reads the bytes of a file whose name ends with ext.
func Parse(data []byte, ext string) (*File, Format, error) {
	ext = strings.ToLower(ext)
	var format Format
	switch {
	case len(data) == 0:
		return nil, "", errors.New("it is empty")
	case isZip(data) || isTar(data) || isSequence(data) || ext == ".pth" || ext == ".pt":
		format = Torch
	case len(data) > 8 && data[8] == '{':
		format = Safetensors
	case ext == ".onnx" || ext != ".caffemodel" && data[0] == 1<<3: // ir_version, a number
		format = ONNX
	case ext == ".caffemodel" || data[0] == 1<<3|2: // name, a string
		format = Caffe
	default:
		return nil, "", errors.New("it is in none of the forms that can be read: safetensors, .caffemodel, .pth of PyTorch, ONNX")
	}
	var f *File
	var err error
	switch format {
	case Torch:
		f, err = ParseTorch(data)
	case Safetensors:
		f, err = Read(bytes.NewReader(data), int64(len(data)))
	case ONNX:
		f, err = ParseONNX(data)
	default:
		f, err = ParseCaffe(data)
	}
	return f, format, err
}
