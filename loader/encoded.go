package loader

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// Encoded is a source whose pictures are encoded files, wherever they lie. The
// loader decodes them straight to their stored size.
type Encoded interface {
	Source
	// Encoded reads picture i, into buf where that is large enough.
	Encoded(i int, buf []byte) ([]byte, error)
}

// Wrapper is a source that shows the pictures of another. Without it, a wrapped
// source is read through Open alone, which is slower.
type Wrapper interface {
	// Inner is the source that picture i comes from, and its number there.
	Inner(i int) (Source, int)
}

// Inner looks through all wrappers at picture i of src.
func Inner(src Source, i int) (Source, int) {
	for {
		w, ok := src.(Wrapper)
		if !ok {
			return src, i
		}
		src, i = w.Inner(i)
	}
}

func (s *subset) Inner(i int) (Source, int) { return s.Source, s.indices[i] }

// DecoderOf names what turns the pictures of src into pixels, on which their
// bits depend: JPEGDecoder() where they are files, the decoder that they were
// packed with, "" where nothing is decoded.
func DecoderOf(src Source) string {
	if src.Len() == 0 {
		return ""
	}
	src, _ = Inner(src, 0)
	switch s := src.(type) {
	case *Pack:
		return s.index.Decoder
	case Encoded:
		return JPEGDecoder()
	}
	return ""
}

func (f *folder) Encoded(i int, buf []byte) ([]byte, error)      { return readFile(f.Name(i), buf) }
func (l *pictureList) Encoded(i int, buf []byte) ([]byte, error) { return readFile(l.Name(i), buf) }

// readFile reads a picture's file.
func readFile(path string, buf []byte) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	if !info.Mode().IsRegular() { // a pipe, whose size nobody knows
		data, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
		if err != nil {
			return nil, fmt.Errorf("read picture: %w", err)
		}
		return data, nil
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("read %s: it has %d bytes: the most read is %d", path, info.Size(), int64(maxFileBytes))
	}
	data := grow(&buf, int(info.Size()))
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read picture %s: %w", path, err)
	}
	return data, nil
}

// store writes the stored picture i of src to dst by the shortest way there is;
// whole is StoreEncoded's.
func store(dst []byte, src Source, i int, in Input, whole bool) error {
	inner, at := Inner(src, i)
	switch s := inner.(type) {
	case *Pack:
		if s.index.Size == in.Stored {
			return s.Read(at, dst)
		}
	case Encoded:
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		data, err := s.Encoded(at, *buf)
		if err != nil {
			return err
		}
		*buf = data[:0]
		if err := StoreEncoded(dst, data, in.Stored, in.Resize, whole); err != nil {
			return fmt.Errorf("decode %s: %w", inner.Name(at), err)
		}
		return nil
	}
	img, err := src.Open(i)
	if err != nil {
		return err
	}
	return Store(dst, img, in.Stored, in.Resize)
}

// buffers hold encoded files between pictures.
var buffers = sync.Pool{New: func() any { return new([]byte) }}
