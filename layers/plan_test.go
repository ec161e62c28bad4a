package layers

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// The three ways to 55×55 and on, of the paper's code, Caffe and torchvision.
func TestAlexNetGeometry(t *testing.T) {
	for name, c := range map[string]struct {
		in   int
		conv Conv
		ceil bool
	}{
		"2012":        {224, Conv{Out: 96, KernelH: 11, KernelW: 11, Stride: 4, Ceil: true}, true},
		"Caffe":       {227, Conv{Out: 96, KernelH: 11, KernelW: 11, Stride: 4}, true},
		"torchvision": {224, Conv{Out: 64, KernelH: 11, KernelW: 11, Stride: 4, Pad: 2}, false},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := c.conv.Plan(Shape{3, c.in, c.in})
			require.NoError(t, err)
			require.Equal(t, Shape{c.conv.Out, 55, 55}, plan.Out)
			for _, side := range []int{27, 13, 6} {
				plan, err = MaxPool{Size: 3, Stride: 2, Ceil: c.ceil}.Plan(plan.Out)
				require.NoError(t, err)
				require.Equal(t, Shape{c.conv.Out, side, side}, plan.Out)
			}
		})
	}
}

func TestRounding(t *testing.T) {
	high := func(l cpuLayer, n int) int {
		plan, err := l.Plan(Shape{1, n, 100})
		require.NoError(t, err)
		return plan.Out.H
	}
	conv := Conv{Out: 1, KernelH: 11, KernelW: 11, Stride: 4}
	require.Equal(t, 54, high(conv, 224))
	conv.Ceil = true
	require.Equal(t, 55, high(conv, 224))
	require.Equal(t, 55, high(conv, 227))
	require.Equal(t, 26, high(MaxPool{Size: 3, Stride: 2}, 54))
	require.Equal(t, 27, high(MaxPool{Size: 3, Stride: 2, Ceil: true}, 54))
	// 1 + ceil((6+2-3)/2) is 4, and the fourth window starts at row 5 of 6; with
	// 5 rows and a window of 2 it would start at row 5, in the padding.
	require.Equal(t, 4, high(MaxPool{Size: 3, Stride: 2, Pad: 1, Ceil: true}, 6))
	require.Equal(t, 3, high(MaxPool{Size: 2, Stride: 2, Pad: 1, Ceil: true}, 5))
	require.Equal(t, 3, high(MaxPool{Size: 2, Stride: 2, Pad: 1, Ceil: true}, 4))
	require.Equal(t, 1, high(MaxPool{Size: 1, Stride: 3, Ceil: true}, 3), "the second window would start outside")
}

func TestPlans(t *testing.T) {
	for _, c := range []struct {
		layer cpuLayer
		in    Shape
		want  Plan
	}{
		{Conv{Out: 256, KernelH: 5, KernelW: 5, Stride: 1, Pad: 2, Groups: 2}, Shape{96, 27, 27}, Plan{
			In: Shape{96, 27, 27}, Out: Shape{256, 27, 27},
			Params: []Param{{"weight", []int{256, 48, 5, 5}}, {"bias", []int{256}}},
			NeedsX: true, MACs: 223_948_800,
		}},
		{Linear{Out: 4096}, Shape{256, 6, 6}, Plan{
			In: Shape{256, 6, 6}, Out: Shape{4096, 1, 1},
			Params: []Param{{"weight", []int{4096, 9216}}, {"bias", []int{4096}}},
			NeedsX: true, MACs: 37_748_736,
		}},
		{ReLU{}, Shape{2, 3, 4}, Plan{In: Shape{2, 3, 4}, Out: Shape{2, 3, 4}, NeedsY: true}},
		{LRN{Size: 5, K: 1}, Shape{2, 3, 4}, Plan{In: Shape{2, 3, 4}, Out: Shape{2, 3, 4}, NeedsX: true}},
		{MapNorm{Size: 5, K: 1}, Shape{2, 3, 4}, Plan{In: Shape{2, 3, 4}, Out: Shape{2, 3, 4}, NeedsX: true, KeepWords: 24}},
		{MaxPool{Size: 2, Stride: 2}, Shape{5, 4, 6}, Plan{In: Shape{5, 4, 6}, Out: Shape{5, 2, 3}, KeepWords: 12}},
		{Dropout{P: 0.5}, Shape{2, 3, 4}, Plan{In: Shape{2, 3, 4}, Out: Shape{2, 3, 4}}},
	} {
		t.Run(c.layer.Kind(), func(t *testing.T) {
			plan, err := c.layer.Plan(c.in)
			require.NoError(t, err)
			require.Equal(t, c.want, plan)
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	nan := float32(math.NaN())
	in := Shape{6, 9, 9}
	for want, c := range map[string]struct {
		layer cpuLayer
		in    Shape
	}{
		"conv: input [6 0 9] is empty":                                  {Conv{Out: 1, KernelH: 3, KernelW: 3, Stride: 1}, Shape{6, 0, 9}},
		"conv: a window of 0×3 is empty":                                {Conv{Out: 1, KernelW: 3, Stride: 1}, in},
		"conv: stride 0":                                                {Conv{Out: 1, KernelH: 3, KernelW: 3}, in},
		"conv: pad -1":                                                  {Conv{Out: 1, KernelH: 3, KernelW: 3, Stride: 1, Pad: -1}, in},
		"out of all proportion":                                         {Conv{Out: 1, KernelH: 3, KernelW: 3, Stride: 1, Pad: math.MaxInt}, in},
		"conv: 0 output channels":                                       {Conv{KernelH: 3, KernelW: 3, Stride: 1}, in},
		"conv: -2 groups":                                               {Conv{Out: 1, KernelH: 3, KernelW: 3, Stride: 1, Groups: -2}, in},
		"conv: 6 input channels do not divide into 4 groups":            {Conv{Out: 4, KernelH: 3, KernelW: 3, Stride: 1, Groups: 4}, in},
		"conv: 4 output channels do not divide into 3 groups":           {Conv{Out: 4, KernelH: 3, KernelW: 3, Stride: 1, Groups: 3}, in},
		"window 12 high does not fit into an input 9 high with pad 1":   {Conv{Out: 1, KernelH: 12, KernelW: 3, Stride: 1, Pad: 1}, in},
		"window 10 wide does not fit into an input 9 wide with pad 0":   {Conv{Out: 1, KernelH: 3, KernelW: 10, Stride: 1, Ceil: true}, in},
		"conv: output [2000000000 9 9] has more than":                   {Conv{Out: 2e9, KernelH: 1, KernelW: 1, Stride: 1}, in},
		"conv: weight [90000000 6 9 9] has more than":                   {Conv{Out: 9e7, KernelH: 9, KernelW: 9, Stride: 1}, in},
		"linear: 0 outputs":                                             {Linear{}, in},
		"linear: input [0 1 1] is empty":                                {Linear{Out: 1}, Shape{0, 1, 1}},
		"linear: weight [9000000 486] has more than":                    {Linear{Out: 9e6}, in},
		"relu: input [70000 70000 1] has more than 2147483647 elements": {ReLU{}, Shape{70000, 70000, 1}},
		"lrn: input [-1 1 1] is empty":                                  {LRN{Size: 5, K: 1}, Shape{-1, 1, 1}},
		"lrn: a window of size 4 has no centre":                         {LRN{Size: 4, K: 1}, in},
		"lrn: k is 0":                                                   {LRN{Size: 5}, in},
		"lrn: alpha is -1":                                              {LRN{Size: 5, K: 1, Alpha: -1}, in},
		"lrn: beta is NaN":                                              {LRN{Size: 5, K: 1, Beta: nan}, in},
		"lrn: 6 channels do not divide into 4 groups":                   {LRN{Size: 5, K: 1, Groups: 4}, in},
		"mapnorm: a window of size -1":                                  {MapNorm{Size: -1, K: 1}, in},
		"mapnorm: input [1 0 1] is empty":                               {MapNorm{Size: 5, K: 1}, Shape{1, 0, 1}},
		"maxpool: a window of 17×17 is too large":                       {MaxPool{Size: 17, Stride: 1}, Shape{1, 20, 20}},
		"maxpool: pad 3 leaves windows of size 3 without any element":   {MaxPool{Size: 3, Stride: 1, Pad: 3}, in},
		"maxpool: a window 10 high does not fit":                        {MaxPool{Size: 10, Stride: 1}, in},
		"maxpool: input [6 9 0] is empty":                               {MaxPool{Size: 3, Stride: 1}, Shape{6, 9, 0}},
		"dropout: probability 1":                                        {Dropout{P: 1}, in},
		"dropout: probability NaN":                                      {Dropout{P: nan}, in},
		"dropout: input [6 9 -9] is empty":                              {Dropout{}, Shape{6, 9, -9}},
	} {
		t.Run(want, func(t *testing.T) {
			_, err := c.layer.Plan(c.in)
			require.ErrorContains(t, err, want)
		})
	}
}
