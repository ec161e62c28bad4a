package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/weights"
)

// TestKilledRunResumesBitExactly kills a training process with SIGKILL again
// and again, resumes it each time, and ends with the bits of a run that was
// never stopped.
func TestKilledRunResumesBitExactly(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "vkalexnet")
	out, err := exec.Command("go", "build", "-o", program, "vkalexnet/cmd/vkalexnet").CombinedOutput()
	require.NoError(t, err, "%s", out)
	model, err := filepath.Abs("../cmd/vkalexnet/testdata/tiny.toml")
	require.NoError(t, err)
	train := func(run string, device string, more ...string) *exec.Cmd {
		return exec.Command(program, append([]string{"train", "--device", device, "--output-dir", filepath.Join(dir, run)}, more...)...)
	}
	start := []string{"--model", model, "--data", "synthetic:200", "--epochs", "2", "-b", "4", "--checkpoint-steps", "3"}
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		device := d.Info.UUID
		name := short(d.Name)
		out, err := train(name+"-whole", device, start...).CombinedOutput()
		require.NoError(t, err, "%s", out)

		last := filepath.Join(dir, name+"-killed", "last.safetensors")
		kills := 0
		cmd := train(name+"-killed", device, start...)
		for {
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			// Kill it once it has written another checkpoint, three times.
			before, _ := os.ReadFile(last)
			deadline := time.Now().Add(2 * time.Minute)
			running := true
			for running && kills < 3 {
				require.True(t, time.Now().Before(deadline), "no new checkpoint: %s", stderr.String())
				select {
				case err := <-ended:
					require.NoError(t, err, "%s", stderr.String())
					running = false
				case <-time.After(time.Millisecond):
					if now, err := os.ReadFile(last); err == nil && !bytes.Equal(now, before) {
						require.NoError(t, cmd.Process.Kill())
						<-ended
						kills++
						running = false
					}
				}
			}
			if running {
				require.NoError(t, <-ended, "%s", stderr.String())
				break
			}
			cmd = train(name+"-killed", device, "--resume", filepath.Join(dir, name+"-killed"))
		}
		require.Equal(t, 3, kills, "the run was too short to be killed three times")
		whole, err := weights.ReadSafetensors(filepath.Join(dir, name+"-whole", "last.safetensors"))
		require.NoError(t, err)
		resumed, err := weights.ReadSafetensors(last)
		require.NoError(t, err)
		require.Equal(t, whole.Tensors, resumed.Tensors)
		require.Equal(t, losses(t, filepath.Join(dir, name+"-whole")), losses(t, filepath.Join(dir, name+"-killed")), "metrics.jsonl")
	})
}

// losses are the lines of a run's metrics.jsonl without the times.
func losses(t *testing.T, run string) (lines []string) {
	data, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	require.NoError(t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		line, _, _ = strings.Cut(line, `,"images_per_second"`)
		lines = append(lines, line)
	}
	return lines
}
