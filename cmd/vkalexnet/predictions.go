package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// prediction is what infer says about one file.
type prediction struct {
	File   string    `json:"file"`
	Top    []ranked  `json:"top,omitempty"`
	Logits []float32 `json:"logits,omitempty"`
	Error  string    `json:"error,omitempty"`
}

// ranked is one of the likeliest classes.
type ranked struct {
	Class int     `json:"class"`
	Label string  `json:"label"`
	Prob  float32 `json:"prob"`
	Logit float32 `json:"-"`
}

// predictionWriter writes predictions in one of the formats, as they come.
type predictionWriter interface {
	write(prediction) error
	close() error
}

func newPredictionWriter(w io.Writer, format string, logits bool) predictionWriter {
	switch format {
	case "json":
		return &jsonPredictions{w: w}
	case "jsonl":
		return jsonLines{newEncoder(w)}
	case "csv":
		return &csvPredictions{w: csv.NewWriter(w), logits: logits}
	default:
		return textPredictions{w, logits}
	}
}

func newEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}

type jsonLines struct{ *json.Encoder }

func (j jsonLines) write(p prediction) error { return j.Encode(p) }
func (jsonLines) close() error               { return nil }

// jsonPredictions writes one array.
type jsonPredictions struct {
	w   io.Writer
	any bool
}

func (j *jsonPredictions) write(p prediction) error {
	separator := "[\n  "
	if j.any {
		separator = ",\n  "
	}
	j.any = true
	var text bytes.Buffer
	text.WriteString(separator)
	if err := newEncoder(&text).Encode(p); err != nil {
		return err
	}
	_, err := j.w.Write(bytes.TrimRight(text.Bytes(), "\n"))
	return err
}

func (j *jsonPredictions) close() error {
	if !j.any { // interrupted before the first
		_, err := io.WriteString(j.w, "[]\n")
		return err
	}
	_, err := io.WriteString(j.w, "\n]\n")
	return err
}

// csvPredictions writes a row per file and class.
type csvPredictions struct {
	w      *csv.Writer
	logits bool
	any    bool
}

func (c *csvPredictions) write(p prediction) error {
	value := "prob"
	if c.logits {
		value = "logit"
	}
	if !c.any {
		c.any = true
		_ = c.w.Write([]string{"file", "rank", "class", "label", value, "error"})
	}
	if p.Error != "" {
		_ = c.w.Write([]string{p.File, "", "", "", "", p.Error})
	}
	for i, t := range p.Top {
		number := strconv.FormatFloat(float64(t.Prob), 'g', -1, 32)
		if c.logits {
			number = strconv.FormatFloat(float64(t.Logit), 'g', -1, 32)
		}
		_ = c.w.Write([]string{p.File, strconv.Itoa(i + 1), strconv.Itoa(t.Class), t.Label, number, ""})
	}
	c.w.Flush()
	return c.w.Error()
}

func (c *csvPredictions) close() error { return nil }

// visible is a name or an error for people: in quotes, with escapes, where it holds
// what a terminal would not show as it is, as line ends and control sequences.
func visible(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// textPredictions is for people.
type textPredictions struct {
	w      io.Writer
	logits bool
}

func (t textPredictions) write(p prediction) error {
	if p.Error != "" {
		_, err := fmt.Fprintf(t.w, "%s\n  error: %s\n", visible(p.File), visible(p.Error))
		return err
	}
	text := visible(p.File) + "\n"
	for _, r := range p.Top {
		if t.logits {
			text += fmt.Sprintf("  %9.4f  %s\n", r.Logit, r.Label)
		} else {
			text += fmt.Sprintf("  %6.2f %%  %s\n", r.Prob*100, r.Label)
		}
	}
	_, err := io.WriteString(t.w, text)
	return err
}

func (textPredictions) close() error { return nil }
