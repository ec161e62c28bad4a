package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, cmd *cobra.Command, args ...string) error {
	t.Helper()
	require.NoError(t, cmd.ParseFlags(args))
	return applySettings(cmd)
}

// What is written as config.toml means the same when it is read.
func TestSettingsAreReadBack(t *testing.T) {
	first := newTrain()
	require.NoError(t, parse(t, first, "--model", `odd "name" \ here`, "--lr", "1e-05", "--lr-milestones", "1.5,3", "--no-aug", "-j", "3", "--seed", "18446744073709551615"))
	written := settingsTOML(first.Flags())
	path := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(path, []byte(written), 0o644))

	second := newTrain()
	require.NoError(t, parse(t, second, "-c", path))
	require.Equal(t, written, settingsTOML(second.Flags()))
	for _, line := range []string{`lr                 = 1e-05`, `no_aug             = true`, `workers            = 3`} {
		require.Contains(t, written, line+"\n")
	}
}

func TestPrecedence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.toml")
	require.NoError(t, os.WriteFile(path, []byte("lr = 0.1\nmomentum = 0.2\nweight_decay = 0.3\n"), 0o644))
	t.Setenv("VKALEXNET_LR", "0.4")
	t.Setenv("VKALEXNET_MOMENTUM", "0.5")
	cmd := newTrain()
	require.NoError(t, parse(t, cmd, "-c", path, "--lr", "0.6"))
	for name, want := range map[string][2]string{"lr": {"0.6", fromFlag}, "momentum": {"0.5", fromEnv}, "wd": {"0.3", fromFile}} {
		f := cmd.Flags().Lookup(name)
		require.Equal(t, want, [2]string{f.Value.String(), origin(f)}, name)
	}
	require.False(t, cmd.Flags().Lookup("epochs").Changed, "nobody set it: the model's number stands")
}

func TestKeysAreFoundInTheFile(t *testing.T) {
	text := []byte("# lr\n  lr = 1\nlr_gamma=2\n\"seed\" = 3\n[table]\n")
	for key, line := range map[string]int{"lr": 2, "lr_gamma": 3, "seed": 4, "table": 5, "absent": 0} {
		require.Equal(t, line, keyLine(text, key), key)
	}
}

// FuzzSettings: a configuration file of any content is read or refused.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(settingsTOML(newTrain().Flags())))
	f.Add([]byte("lr = 1e-3\nfreeze = [\"conv1\", 2]\n[data]\nx = 1"))
	f.Add([]byte("lr_milestones = [[1], {a = 2}]\nseed = 1979-05-27"))
	path := filepath.Join(f.TempDir(), "config.toml")
	f.Fuzz(func(t *testing.T, text []byte) {
		require.NoError(t, os.WriteFile(path, text, 0o644))
		flags := newTrain().Flags()
		if applyFile(flags, path) == nil {
			_ = settingsTOML(flags)
		}
	})
}
