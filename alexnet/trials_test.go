package alexnet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
)

// trialEnv makes the test binary a process that tunes a network on the first device until
// the candidate of that name is tried, among others ("several NAME") or alone, and is then
// killed by it.
const trialEnv = "VKALEXNET_TEST_TRIAL"

func tuneUntil(name string) {
	only, several := strings.CutPrefix(name, "several ")
	infos, err := engine.Devices()
	if err != nil {
		panic(err)
	}
	info, err := engine.Select(infos, "0")
	if err != nil {
		panic(err)
	}
	_, _, err = tuneTrying(info, new([]string), func(on []trial) error {
		if slices.ContainsFunc(on, func(t trial) bool { return t.Name == only }) && several == (len(on) > 1) {
			process, err := os.FindProcess(os.Getpid())
			if err != nil {
				return err
			}
			return process.Kill()
		}
		return nil
	})
	fmt.Fprintln(os.Stderr, "not killed:", err)
	os.Exit(0)
}

func tuneTrying(info engine.Info, warned *[]string, trying func(on []trial) error) (layers.Choices, []Tuned, error) {
	net, err := ParseNetwork([]byte(tuneTOML), "two products")
	if err != nil {
		return nil, nil, err
	}
	dev, err := engine.Open(info, shaders.FS)
	if err != nil {
		return nil, nil, err
	}
	defer dev.Close()
	return Tune(context.Background(), dev, net, 3, ExecOptions{SGD: net.Solver.SGD(), Inference: true}, nil,
		TuneOptions{trying: trying, Warn: func(text string) { *warned = append(*warned, text) }})
}

// TestTuneAfterACandidateEndedTheProcess: what a process died of is found, alone or among
// others, and is not tried again.
func TestTuneAfterACandidateEndedTheProcess(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files cannot be locked on this system, so nothing is noted")
	}
	info := usableDevices(t)[0]
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var tried []string // apart from the table's
	_, _, err := tuneTrying(info, nil, func(on []trial) error {
		for _, of := range on {
			tried = append(tried, of.Name)
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, tried)
	bad := tried[0]
	known := func() trialsFile { return openTrials(&info, false).known }
	require.Empty(t, known().Fatal)
	require.Empty(t, known().Suspects)
	notes := func() []string {
		found, err := filepath.Glob(filepath.Join(engine.CacheDir(), "trial-*"))
		require.NoError(t, err)
		return found
	}
	require.Empty(t, notes(), "an end that was no death leaves nothing behind")
	child := func(name string) {
		binary, err := os.Executable()
		require.NoError(t, err)
		process := exec.Command(binary)
		process.Env = append(os.Environ(), trialEnv+"="+name)
		output, err := process.CombinedOutput()
		require.ErrorContains(t, err, "signal: killed", "%s", output)
	}

	if slices.IndexFunc(tried, func(name string) bool { return name != bad }) > 0 {
		child("several " + bad)
		require.Len(t, notes(), 1)
		require.Greater(t, len(known().Suspects), 1)
		require.Empty(t, notes(), "taken over")
		require.Empty(t, known().Fatal, "nobody knows which of them it was")
		require.Contains(t, openTrials(&info, false).warning(), "each is tried alone now")
	}
	child(bad)
	k := known()
	require.Len(t, k.Fatal, 1)
	require.Equal(t, bad, k.Fatal[0].Name)

	var warned []string
	tried = nil
	_, tuned, err := tuneTrying(info, &warned, func(on []trial) error {
		for _, of := range on {
			tried = append(tried, of.Name)
		}
		return nil
	})
	require.NoError(t, err)
	require.NotContains(t, tried, bad)
	require.Len(t, warned, 1)
	require.Contains(t, warned[0], bad)
	require.Contains(t, warned[0], "the process ended when it was first tried; vkalexnet tune --again tries it once more")
	require.True(t, slices.ContainsFunc(tuned[0].Rejected, func(text string) bool { return strings.HasPrefix(text, bad+": the process ended") }), "%v", tuned[0].Rejected)
	require.Empty(t, known().Suspects, "those that ran alone are not suspect any more")

	again := openTrials(&info, true)
	require.Empty(t, again.known.Fatal)
	require.Equal(t, bad, again.known.Suspects[0].Name)
}

// TestTrialsOfTheLiving: what another process is trying is left to it.
func TestTrialsOfTheLiving(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files cannot be locked on this system, so nothing is noted")
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	info := engine.Info{Name: "a GPU", DriverKey: "one"}
	one := trial{Kernel: "tiles in fp32", Name: "tiles1"}
	living := openTrials(&info, false)
	living.begin([]trial{one, {Kernel: "tiles in fp32", Name: "tiles2"}})
	require.Empty(t, openTrials(&info, false).known.Suspects)
	living.begin([]trial{one}) // shorter
	require.Empty(t, openTrials(&info, false).known.Fatal)
	living.begin(nil)
	living.close()
	require.Empty(t, openTrials(&info, false).known.Fatal)

	// As if the process had died.
	die := func(info *engine.Info, on ...trial) *trials {
		dead := openTrials(info, false)
		dead.begin(on)
		dead.unlock()
		return openTrials(info, false)
	}
	other := info
	other.DriverKey = "two"
	die(&other, one)
	require.Empty(t, openTrials(&info, false).fatal(one))
	require.NotEmpty(t, die(&info, one).fatal(one))
	require.Empty(t, openTrials(&info, false).fatal(trial{Kernel: "tiles in fp32", Name: "tiles2"}))
	die(&info, trial{Kernel: "tiles in fp32", Name: "tiles2"})
	require.Contains(t, openTrials(&info, false).fatal(trial{Kernel: "tiles in fp32", Name: "tiles3"}), "tiles1 and tiles2 of the same kernel")
	require.Empty(t, openTrials(&info, false).fatal(trial{Kernel: "eights in fp16", Name: "eights3"}))

	// An interrupt is not the candidate's fault.
	interrupted := openTrials(&info, false)
	interrupted.begin([]trial{{Kernel: "eights in fp16", Name: "eights1"}})
	AbandonTrials()
	interrupted.unlock()
	require.Len(t, openTrials(&info, false).known.Fatal, 2)
}

// TestTuneAfterACandidateLostTheDevice: the loss is known at once, and what else goes
// wrong only drops the candidate.
func TestTuneAfterACandidateLostTheDevice(t *testing.T) {
	info := usableDevices(t)[0]
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	bad := ""
	_, _, err := tuneTrying(info, nil, func(on []trial) error {
		if len(on) != 1 {
			return nil
		}
		bad = on[0].Name
		return fmt.Errorf("vkWaitForFences: %w", engine.ErrDeviceLost)
	})
	require.ErrorIs(t, err, engine.ErrDeviceLost)
	require.ErrorContains(t, err, bad+" ran for the first time: start again, and it will not be tried")
	found := openTrials(&info, false)
	require.Equal(t, []trial{{Kernel: found.known.Fatal[0].Kernel, Name: bad, Why: "the device was lost when it was first tried"}}, found.known.Fatal)

	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	seen := map[string]bool{} // to be compiled
	_, tuned, err := tuneTrying(info, nil, func(on []trial) error {
		if len(on) == 1 && seen[on[0].Name] {
			clear(seen) // the next product is compiled again
			return fmt.Errorf("plan the temporaries: %w", engine.ErrOutOfMemory)
		}
		for _, of := range on {
			seen[of.Name] = true
		}
		return nil
	})
	require.NoError(t, err)
	for _, product := range tuned {
		require.NotEmpty(t, product.Rejected)
		require.True(t, strings.HasSuffix(product.Rejected[len(product.Rejected)-1], engine.ErrOutOfMemory.Error()))
	}
}
