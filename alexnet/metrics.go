package alexnet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"vkalexnet/weights"
)

// StepMetrics is the line of metrics.jsonl for one step.
type StepMetrics struct {
	Kind  string  `json:"kind"` // "step"
	Step  int64   `json:"step"` // from 1
	Epoch int     `json:"epoch"`
	Loss  float64 `json:"loss"` // mean over the step's pictures
	LR    float32 `json:"lr"`
	// ImagesPerSecond counts everything, waiting for pictures too; DataWait is
	// the share (0 to 1) of the step's time that went into waiting.
	ImagesPerSecond float64 `json:"images_per_second"`
	DataWait        float64 `json:"data_wait"`
	// LossScale is what the loss was multiplied by, and Overflow says that
	// gradients overflowed nevertheless (fp16 only).
	LossScale float32 `json:"loss_scale,omitempty"`
	Overflow  bool    `json:"overflow,omitempty"`
}

// EpochMetrics is the line for one epoch. The last three are there when there
// is a validation set; accuracies are shares from 0 to 1.
type EpochMetrics struct {
	Kind      string   `json:"kind"` // "epoch"
	Epoch     int      `json:"epoch"`
	Step      int64    `json:"step"`
	TrainLoss float64  `json:"train_loss"`
	ValLoss   *float64 `json:"val_loss,omitempty"`
	ValTop1   *float64 `json:"val_top1,omitempty"`
	ValTop5   *float64 `json:"val_top5,omitempty"`
}

// metricsLog appends lines to a run's metrics.jsonl.
type metricsLog struct{ file *os.File }

// openMetrics opens the file of a run that has come to state: what it says of
// later steps, from before a crash, is taken out, and all of it for a new run.
func openMetrics(path string, state TrainState) (*metricsLog, error) {
	if err := trimMetrics(path, state); err != nil {
		return nil, fmt.Errorf("metrics of the run: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("metrics of the run: %w", err)
	}
	return &metricsLog{file}, nil
}

// trimMetrics leaves the lines up to the state.
func trimMetrics(path string, state TrainState) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept bytes.Buffer
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m struct {
			Kind  string
			Step  int64
			Epoch int
		}
		// A line that was cut off by a crash is no JSON.
		if json.Unmarshal(lines.Bytes(), &m) != nil || m.Step > state.Step || m.Kind == "epoch" && m.Epoch >= state.Epoch {
			continue
		}
		kept.Write(lines.Bytes())
		kept.WriteByte('\n')
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return weights.Replace(path, func(w io.Writer) error {
		_, err := w.Write(kept.Bytes())
		return err
	})
}

// write appends one line.
func (l *metricsLog) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

func (l *metricsLog) close() error { return l.file.Close() }
