package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Where there is no terminal a line comes at once, then every few seconds, and
// at the end.
func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, "step", 0, 100)
	for i := range 100 {
		p.update(i+1, "going")
	}
	p.update(100, "evaluating")
	p.say("epoch %d", 1)
	p.stop()
	require.Equal(t, "step 1/100  going\nstep 100/100  going\nepoch 1\n", out.String())
}

// The least important parts come last, and go first.
func TestProgressFitsTheTerminal(t *testing.T) {
	text := "epoch 1/9  loss 2.0  4 s left"
	require.Equal(t, text, fit(text, 29))
	require.Equal(t, "epoch 1/9  loss 2.0", fit(text, 28))
	require.Equal(t, "epoch 1/9", fit(text, 12))
	require.Empty(t, fit(text, 3))
}

func TestTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		300 * time.Millisecond: "1 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 01 s",
		2*time.Hour + 5*time.Minute: "2 h 05 min", 60 * time.Hour: "2.5 days",
	} {
		require.Equal(t, want, roundTime(d))
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[uint64]string{12: "12 B", 16 << 10: "16 KiB", 128 << 20: "128 MiB", 3 << 29: "1.5 GiB"} {
		require.Equal(t, want, bytesText(n))
	}
}
