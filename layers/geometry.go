package layers

import (
	"fmt"
	"math"
)

// maxElements bounds one example of a tensor and one parameter: kernels index
// with 32-bit integers.
const maxElements = math.MaxInt32

// checkShape refuses shapes that no tensor can have.
func checkShape(what string, dims ...int) error {
	n := 1
	for _, d := range dims {
		if d < 1 {
			return fmt.Errorf("%s %v is empty: every extent must be at least 1", what, dims)
		}
		if d > maxElements/n {
			return fmt.Errorf("%s %v has more than %d elements: make it smaller", what, dims, maxElements)
		}
		n *= d
	}
	return nil
}

// checkInput refuses input shapes that no tensor can have.
func checkInput(in Shape) error {
	return checkShape("input", in.C, in.H, in.W)
}

// checkWindow refuses windows (of a convolution or a pooling) that make no
// sense by themselves.
func checkWindow(height, width, stride, pad int) error {
	switch {
	case height < 1 || width < 1:
		return fmt.Errorf("a window of %d×%d is empty: its sides must be at least 1", height, width)
	case stride < 1:
		return fmt.Errorf("stride %d: it must be at least 1", stride)
	case pad < 0:
		return fmt.Errorf("pad %d: it cannot be negative", pad)
	case height > maxElements || width > maxElements || stride > maxElements || pad > maxElements:
		return fmt.Errorf("a window of %d×%d with stride %d and pad %d is out of all proportion: at most %d each",
			height, width, stride, pad, maxElements)
	}
	return nil
}

// positions is the number of places of a window of size k along an axis of n
// elements with pad zeros on either side: 1 + (2*pad + n - k)/stride, rounded
// down (Caffe's and PyTorch's convolutions) or up (cuda-convnet, whose last
// window may hang off the far side).
func positions(axis string, n, k, stride, pad int, ceil bool) (int, error) {
	room := n + 2*pad - k
	if room < 0 {
		return 0, fmt.Errorf("a window %d %s does not fit into an input %d %s with pad %d: make the input at least %d, or the window smaller",
			k, axis, n, axis, pad, max(1, k-2*pad))
	}
	if ceil {
		room += stride - 1
	}
	return 1 + room/stride, nil
}
