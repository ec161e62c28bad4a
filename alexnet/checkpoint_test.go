package alexnet

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"vkalexnet/layers"
	"vkalexnet/optim"
	"vkalexnet/weights"

	"github.com/stretchr/testify/require"
)

// writerEnv makes the test binary a process that writes checkpoints to a path
// until it is killed.
const writerEnv = "VKALEXNET_TEST_WRITE_CHECKPOINTS"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeForever(path)
	}
	if name := os.Getenv(trialEnv); name != "" {
		tuneUntil(name)
	}
	os.Exit(m.Run())
}

// writeForever writes checkpoints of steps 1, 2, 3, …
func writeForever(path string) {
	net, err := ParseNetwork([]byte(tinyTOML), "tiny")
	if err != nil {
		panic(err)
	}
	// A wide layer, so that most of the time goes into the bytes.
	net = net.WithClasses(20_000)
	for step := int64(1); ; step++ {
		params, err := net.InitialParams(1)
		if err != nil {
			panic(err)
		}
		err = WriteCheckpoint(path, &Checkpoint{Network: net, Params: params, Momentum: params, State: TrainState{Step: step}})
		if err != nil {
			panic(err)
		}
	}
}

func TestAKilledWriterLeavesAWholeCheckpoint(t *testing.T) {
	binary, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "last.safetensors")
	last := int64(0)
	for _, delay := range []time.Duration{0, 7, 13, 24, 31} {
		writer := exec.Command(binary)
		writer.Env = append(os.Environ(), writerEnv+"="+path)
		writer.Stderr = os.Stderr
		began := time.Now()
		require.NoError(t, writer.Start())
		require.Eventually(t, func() bool {
			info, err := os.Stat(path)
			return err == nil && info.ModTime().After(began)
		}, 20*time.Second, time.Millisecond, "no checkpoint")
		time.Sleep(delay * time.Millisecond)
		require.NoError(t, writer.Process.Kill())
		require.Error(t, writer.Wait(), "it was killed")
		c, err := ReadCheckpoint(path)
		require.NoError(t, err)
		require.Positive(t, c.State.Step)
		last = max(last, c.State.Step)
	}
	t.Logf("up to %d checkpoints were written before a kill", last)
}

// aCheckpoint is one of a run in its second epoch.
func aCheckpoint(t testing.TB) *Checkpoint {
	net := parse(t, tinyTOML)
	net.Classes = []string{"red", "green", "blue"}
	params, err := net.InitialParams(1)
	require.NoError(t, err)
	momentum, err := net.InitialParams(2)
	require.NoError(t, err)
	return &Checkpoint{Network: net, Params: params, Momentum: momentum, State: TrainState{
		Step: 12, Epoch: 1, Batch: 3, Forwards: 1 << 60, EpochLoss: 0.1 + 0.2, EpochImages: 12,
		Schedule: optim.State{Best: 1.0 / 3, Seen: true, Bad: 2, Drops: 1}, Best: 2.0 / 3, BestEpoch: 1,
		Seed: 1<<64 - 1, Augment: true, Shuffle: true, OnBadImage: "skip", Data: "a \"folder\"", Images: 22, Device: "cpu",
	}}
}

func TestACheckpointComesBack(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, LastCheckpoint)
	want := aCheckpoint(t)
	require.NoError(t, WriteCheckpoint(path, want))
	for _, p := range []string{path, folder} {
		got, err := ReadCheckpoint(p)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	file, err := weights.ReadSafetensors(path)
	require.NoError(t, err)
	_, ok := file.Get("momentum/conv1.weight")
	require.True(t, ok)
	require.Equal(t, "12", file.Metadata["step"])
	require.Equal(t, "1", file.Metadata["epoch"])
	require.Equal(t, "18446744073709551615", file.Metadata["seed"])
	require.Equal(t, `["red","green","blue"]`, file.Metadata["classes"])
	require.Equal(t, `{"best":0.3333333333333333,"seen":true,"bad":2,"drops":1}`, file.Metadata["schedule"])
	require.Equal(t, string(want.Network.TOML()), file.Metadata["network"])
	require.Contains(t, file.Metadata["checksum"], "sha256:")

	net, params, err := ReadWeights(folder)
	require.NoError(t, err)
	require.Equal(t, want.Network, net)
	require.Equal(t, want.Params, params.Tensors)
	best := aCheckpoint(t)
	best.Params[0].Data[0] = 42
	require.NoError(t, WriteCheckpoint(filepath.Join(folder, BestCheckpoint), best))
	_, params, err = ReadWeights(folder)
	require.NoError(t, err)
	require.Equal(t, best.Params, params.Tensors, "a run's folder stands for its best")

	plain := filepath.Join(folder, "plain.safetensors")
	require.NoError(t, weights.WriteSafetensors(plain, &weights.File{Tensors: want.Params}))
	net, params, err = ReadWeights(plain)
	require.NoError(t, err)
	require.Nil(t, net)
	require.Equal(t, want.Params, params.Tensors)
	_, err = ReadCheckpoint(plain)
	require.ErrorContains(t, err, "names no network")
	require.ErrorContains(t, err, "--weights")
	empty := t.TempDir()
	_, err = ReadCheckpoint(empty)
	require.ErrorContains(t, err, "folder "+empty+" holds no checkpoint")
	_, _, err = ReadWeights(empty)
	require.ErrorContains(t, err, "folder "+empty+" holds no run")
	_, err = ReadCheckpoint(filepath.Join(folder, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// fileForTest is a checkpoint as its reader gets it.
// A field that a checkpoint lost would make a resumed run another one.
func TestEveryFieldOfTheStateComesBack(t *testing.T) {
	want := TrainState{Step: 1, Epoch: 2, Batch: 3, Forwards: 4, EpochLoss: 5, EpochImages: 6, EpochWeight: 7,
		Schedule: optim.State{Best: 1, Seen: true, Bad: 2, Drops: 3}, Best: 8, BestEpoch: 9, BestBy: "loss",
		Seed: 10, Augment: true, Dropout: true, Shuffle: true, OnBadImage: "fail", Data: "somewhere", Images: 11,
		Balanced: true, ClassWeights: []float32{1, 2}, Device: "gpu", Decoder: "turbo",
		Precision: layers.FP16, Scale: lossScale{Factor: 2, Good: 1}, Choices: layers.Choices{"product": {Name: "tiles"}}}
	fields := reflect.ValueOf(want)
	for i := range fields.NumField() {
		require.False(t, fields.Field(i).IsZero(), "this test is to set %s", fields.Type().Field(i).Name)
	}
	metadata, err := want.metadata()
	require.NoError(t, err)
	got, err := stateOf(metadata)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func (c *Checkpoint) fileForTest(t testing.TB) *weights.File {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	require.NoError(t, WriteCheckpoint(path, c))
	f, err := weights.ReadSafetensors(path)
	require.NoError(t, err)
	return f
}

func TestDamagedCheckpointsAreErrors(t *testing.T) {
	good := aCheckpoint(t).fileForTest(t)
	_, err := checkpointOf(good)
	require.NoError(t, err)
	for says, change := range map[string]func(f *weights.File){
		`no "step"`:                 func(f *weights.File) { delete(f.Metadata, "step") },
		`"seed" is damaged`:         func(f *weights.File) { f.Metadata["seed"] = "{" },
		"cannot unmarshal string":   func(f *weights.File) { f.Metadata["epoch"] = `"x"` },
		"none can be negative":      func(f *weights.File) { f.Metadata["batch"] = "-1" },
		"the file's network:":       func(f *weights.File) { f.Metadata["network"] = "name = 3" },
		"conv1.bias [4] is missing": func(f *weights.File) { f.Tensors = append(f.Tensors[:1:1], f.Tensors[2:]...) },
		"momentum: the weights":     func(f *weights.File) { f.Tensors = f.Tensors[:6] },
	} {
		f := &weights.File{Tensors: good.Tensors, Metadata: maps.Clone(good.Metadata)}
		change(f)
		_, err := checkpointOf(f)
		require.ErrorContains(t, err, says)
	}
}

// FuzzCheckpoint: no file crashes the reader of checkpoints, and what it
// accepts comes back from what it writes.
func FuzzCheckpoint(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, weights.Write(&b, aCheckpoint(f).fileForTest(f)))
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()-9])
	f.Add(bytes.Replace(b.Bytes(), []byte(`"step":"12"`), []byte(`"step":"1e"`), 1))
	f.Add(bytes.Replace(b.Bytes(), []byte("kernel = 3"), []byte("kernel = 9"), 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		file, err := weights.Read(bytes.NewReader(in), int64(len(in)))
		if err != nil {
			return
		}
		c, err := checkpointOf(file)
		if err != nil {
			return
		}
		again, err := checkpointOf(c.fileForTest(t))
		require.NoError(t, err)
		require.Equal(t, c.State, again.State)
		require.Equal(t, string(c.Network.TOML()), string(again.Network.TOML()))
	})
}
