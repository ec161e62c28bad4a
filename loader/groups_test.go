package loader

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSplitByGroup holds out whole groups, of every class about a tenth.
func TestSplitByGroup(t *testing.T) {
	var text strings.Builder
	for i := range 400 {
		fmt.Fprintf(&text, "picture %d.png\t%s\tpatient %d\n", i, []string{"sick", "well"}[i/10%2], i/5)
	}
	lines, err := parseList(strings.NewReader(text.String()))
	require.NoError(t, err)
	src, err := labelList(lines, nil)
	require.NoError(t, err)
	require.Equal(t, "picture 7.png", src.Name(7))
	require.Equal(t, []string{"sick", "well"}, src.Classes())
	for seed := range uint64(5) {
		train, val := Split(src, 0.1, seed)
		require.Equal(t, 400, train.Len()+val.Len())
		side := map[string]int{}
		classes := [2]int{}
		for k, s := range []Source{train, val} {
			for i := range s.Len() {
				group := s.(grouped).Group(i)
				require.True(t, side[group] == 0 || side[group] == k+1, "%s is on both sides", group)
				side[group] = k + 1
				if k == 1 {
					classes[s.Label(i)]++
				}
			}
		}
		require.Equal(t, [2]int{20, 20}, classes)
		_, again := Split(src, 0.1, seed)
		require.Equal(t, val.(*subset).indices, again.(*subset).indices)
	}
	one, err := labelList(lines[:5], nil) // a single group stays
	require.NoError(t, err)
	train, val := Split(one, 0.9, 1)
	require.Equal(t, []int{5, 0}, []int{train.Len(), val.Len()})
	_, err = parseList(strings.NewReader("a.png\tx\tg\nb.png\tx\n"))
	require.ErrorContains(t, err, "lines 1 and 2: either every line has a group")
}

// uneven has 2 pictures of class 0, 90 of class 1, and one without a label.
type uneven struct{ Source }

func (uneven) Len() int { return 93 }
func (uneven) Label(i int) int {
	switch {
	case i == 50:
		return -1
	case i < 2:
		return 0
	}
	return 1
}

func TestBalancedOrder(t *testing.T) {
	order := balancedOrder(uneven{}, random(1, purposeShuffle, 0))
	require.Len(t, order, 93)
	count := map[int]int{}
	times := map[int]int{}
	for _, i := range order {
		count[uneven{}.Label(i)]++
		times[i]++
	}
	require.Zero(t, count[-1])
	require.InDelta(t, count[0], count[1], 1)
	require.InDelta(t, times[0], times[1], 1)
	for i := 2; i < 93; i++ {
		require.LessOrEqual(t, times[i], 1)
	}
	require.Equal(t, order, balancedOrder(uneven{}, random(1, purposeShuffle, 0)))
	require.NotEqual(t, order, balancedOrder(uneven{}, random(1, purposeShuffle, 1)))
}

func TestBalancedWeights(t *testing.T) {
	// 92 labelled pictures of two classes, 2 and 90 of them; the third has none.
	require.Equal(t, []float32{92.0 / 4, float32(92.0 / 180), 1}, BalancedWeights(uneven{}, 3))
}
