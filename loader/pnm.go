package loader

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
)

// pnmHeader is the start of a portable pixmap or greymap
// (https://netpbm.sourceforge.net/doc/ppm.html, pgm.html).
type pnmHeader struct {
	grey, text            bool
	width, height, maxval int
}

func pnmConfig(r io.Reader) (image.Config, error) {
	h, err := readPNMHeader(bufio.NewReader(r))
	return image.Config{ColorModel: color.RGBAModel, Width: h.width, Height: h.height}, err
}

func readPNMHeader(r *bufio.Reader) (h pnmHeader, err error) {
	var magic [2]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return h, err
	}
	switch string(magic[:]) {
	case "P2":
		h.grey, h.text = true, true
	case "P3":
		h.text = true
	case "P5":
		h.grey = true
	case "P6":
	default:
		return h, fmt.Errorf("it begins with %q, not P2, P3, P5 or P6", magic)
	}
	for _, v := range []*int{&h.width, &h.height, &h.maxval} {
		if *v, err = readPNMNumber(r); err != nil {
			return h, err
		}
	}
	if h.width < 1 || h.height < 1 {
		return h, fmt.Errorf("its size is %d×%d", h.width, h.height)
	}
	if h.maxval < 1 || h.maxval > 65535 {
		return h, fmt.Errorf("its largest value is %d: it must be between 1 and 65535", h.maxval)
	}
	return h, nil
}

// readPNMNumber reads a decimal number and the one space after it; comments
// run from "#" to the end of the line.
func readPNMNumber(r *bufio.Reader) (int, error) {
	n, digits := 0, 0
	for {
		c, err := r.ReadByte()
		if err == io.EOF && digits > 0 {
			return n, nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		switch {
		case c >= '0' && c <= '9':
			if n = n*10 + int(c-'0'); n > 1<<30 {
				return 0, errors.New("a number in it is too large")
			}
			digits++
		case c == '#':
			if _, err := r.ReadString('\n'); err != nil {
				return 0, io.ErrUnexpectedEOF
			}
			if digits > 0 {
				return n, nil
			}
		case c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\v' || c == '\f':
			if digits > 0 {
				return n, nil
			}
		default:
			return 0, fmt.Errorf("byte %#02x where a number belongs", c)
		}
	}
}

// pnmDecode reads a picture row by row, so that memory grows with the data and
// not with the header's claim alone.
func pnmDecode(r io.Reader) (image.Image, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	h, err := readPNMHeader(b)
	if err != nil {
		return nil, err
	}
	channels := 3
	if h.grey {
		channels = 1
	}
	bytes := 1
	if h.maxval > 255 {
		bytes = 2
	}
	read := func() (int, error) {
		if h.text {
			return readPNMNumber(b)
		}
		v := 0
		for range bytes { // the more significant one first
			s, err := b.ReadByte()
			if err != nil {
				return 0, io.ErrUnexpectedEOF
			}
			v = v<<8 | int(s)
		}
		return v, nil
	}
	var values []byte
	for y := range h.height {
		for range h.width * channels {
			v, err := read()
			if err != nil {
				return nil, fmt.Errorf("row %d of %d: %w", y, h.height, err)
			}
			if v > h.maxval {
				return nil, fmt.Errorf("row %d of %d: value %d is above the largest, %d", y, h.height, v, h.maxval)
			}
			values = append(values, byte((v*255+h.maxval/2)/h.maxval))
		}
	}
	if h.grey {
		return &image.Gray{Pix: values, Stride: h.width, Rect: image.Rect(0, 0, h.width, h.height)}, nil
	}
	return Picture(values, h.width, h.height), nil
}
