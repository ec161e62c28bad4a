package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
)

// The names of the tensors in the protocol.
const (
	inputPixels = "pixels" // FP32 or UINT8 [n, 3, size, size]
	inputImage  = "image"  // BYTES [n]: files, in base64
	outProbs    = "probabilities"
	outLogits   = "logits"
	outLabel    = "label"
	version     = "1"
)

// tensor is an input or output of a request, as the protocol writes it.
type tensor struct {
	Name     string          `json:"name"`
	Datatype string          `json:"datatype"`
	Shape    []int64         `json:"shape"`
	Data     json.RawMessage `json:"data,omitempty"`
}

type inferRequest struct {
	ID      string   `json:"id"`
	Inputs  []tensor `json:"inputs"`
	Outputs []struct {
		Name string `json:"name"`
	} `json:"outputs"`
}

type outputTensor struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"`
	Data     any    `json:"data"`
}

type inferResponse struct {
	ModelName    string         `json:"model_name"`
	ModelVersion string         `json:"model_version"`
	ID           string         `json:"id,omitempty"`
	Outputs      []outputTensor `json:"outputs"`
}

func (s *Server) serverMetadata(*http.Request) (any, error) {
	return map[string]any{"name": "vkalexnet", "version": s.config.Version, "extensions": []string{}}, nil
}

func (s *Server) live(*http.Request) (any, error) { return map[string]bool{"live": true}, nil }

func (s *Server) ready(*http.Request) (any, error) {
	if err := s.batches.failure(); err != nil {
		return nil, err
	}
	return map[string]bool{"ready": true}, nil
}

// model says whether a request's route names the model that is served.
func (s *Server) model(r *http.Request) error {
	if name := r.PathValue("model"); name != s.config.Name {
		return failf(http.StatusNotFound, "no model %.80q here: this server has %q", name, s.config.Name)
	}
	if v := r.PathValue("version"); v != "" && v != version {
		return failf(http.StatusNotFound, "no version %.80q of %q: this server has %q", v, s.config.Name, version)
	}
	return nil
}

func (s *Server) modelReady(r *http.Request) (any, error) {
	if err := s.model(r); err != nil {
		return nil, err
	}
	if _, err := s.ready(r); err != nil {
		return nil, err
	}
	return map[string]any{"name": s.config.Name, "ready": true}, nil
}

func (s *Server) modelMetadata(r *http.Request) (any, error) {
	if err := s.model(r); err != nil {
		return nil, err
	}
	size, classes := int64(s.config.Net.Input.WithDefaults().Size), int64(s.config.Net.NumClasses())
	return map[string]any{
		"name": s.config.Name, "versions": []string{version}, "platform": "vkalexnet",
		// A request has one of the inputs.
		"inputs": []tensor{
			{Name: inputPixels, Datatype: "FP32", Shape: []int64{-1, 3, size, size}},
			{Name: inputImage, Datatype: "BYTES", Shape: []int64{-1}},
		},
		"outputs": []tensor{
			{Name: outProbs, Datatype: "FP32", Shape: []int64{-1, classes}},
			{Name: outLogits, Datatype: "FP32", Shape: []int64{-1, classes}},
			{Name: outLabel, Datatype: "BYTES", Shape: []int64{-1}},
		},
	}, nil
}

// infer answers POST …/infer.
func (s *Server) infer(r *http.Request) (any, error) {
	if err := s.model(r); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, s.readError(err)
	}
	var q inferRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, failf(http.StatusBadRequest, "the body is not a request of the Open Inference Protocol: %w", err)
	}
	wanted := []string{outProbs, outLogits, outLabel}
	if len(q.Outputs) > 0 {
		known := wanted
		wanted = nil
		for _, o := range q.Outputs {
			if !slices.Contains(known, o.Name) {
				return nil, failf(http.StatusBadRequest, "no output %.80q: there are %q", o.Name, known)
			}
			if slices.Contains(wanted, o.Name) {
				return nil, failf(http.StatusBadRequest, "output %q is asked for twice", o.Name)
			}
			wanted = append(wanted, o.Name)
		}
	}
	if len(q.Inputs) != 1 {
		return nil, failf(http.StatusBadRequest, "%d inputs: there must be one, %q or %q", len(q.Inputs), inputPixels, inputImage)
	}
	jobs, err := s.jobs(r, q.Inputs[0])
	if err != nil {
		return nil, err
	}
	out, err := s.batches.submit(r.Context(), jobs...)
	if err != nil {
		return nil, err
	}
	answer := &inferResponse{ModelName: s.config.Name, ModelVersion: version, ID: q.ID}
	for _, name := range wanted {
		answer.Outputs = append(answer.Outputs, s.output(name, out))
	}
	return answer, nil
}

// output is one tensor of an answer.
func (s *Server) output(name string, out []outcome) outputTensor {
	n, classes := len(out), s.config.Net.NumClasses()
	if name == outLabel {
		labels := make([]string, n)
		for i, o := range out {
			labels[i] = s.config.Net.ClassName(o.Best(1)[0])
		}
		return outputTensor{name, "BYTES", []int{n}, labels}
	}
	numbers := make([]float32, 0, n*classes)
	for _, o := range out {
		if name == outProbs {
			numbers = append(numbers, o.Probs...)
		} else {
			numbers = append(numbers, o.Logits...)
		}
	}
	return outputTensor{name, "FP32", []int{n, classes}, numbers}
}

// jobs are the pictures of an input.
func (s *Server) jobs(r *http.Request, in tensor) ([]*job, error) {
	switch {
	case in.Name == inputImage && in.Datatype == "BYTES":
		return s.fileJobs(r, in)
	case in.Name == inputPixels && (in.Datatype == "FP32" || in.Datatype == "UINT8"):
		return s.pixelJobs(in)
	}
	return nil, failf(http.StatusBadRequest, "input %.80q of type %.80q: it must be %q (FP32 or UINT8) or %q (BYTES)", in.Name, in.Datatype, inputPixels, inputImage)
}

// count checks a shape's first number: the pictures of a request.
func (s *Server) count(n int64) error {
	if n < 1 || n > int64(s.config.MaxQueue) {
		return failf(http.StatusBadRequest, "%d pictures in one request: it takes 1 to %d", n, s.config.MaxQueue)
	}
	return nil
}

// fileJobs are encoded pictures, in base64: BYTES in JSON must be text.
func (s *Server) fileJobs(r *http.Request, in tensor) ([]*job, error) {
	if len(in.Shape) != 1 && (len(in.Shape) != 2 || in.Shape[1] != 1) {
		return nil, failf(http.StatusBadRequest, "input %q has shape %v: it must be [n]", in.Name, in.Shape)
	}
	if err := s.count(in.Shape[0]); err != nil {
		return nil, err
	}
	var texts []string
	if err := json.Unmarshal(in.Data, &texts); err != nil {
		var nested [][]string // [n, 1]
		if json.Unmarshal(in.Data, &nested) != nil {
			return nil, failf(http.StatusBadRequest, "data of input %q: %w", in.Name, err)
		}
		texts = slices.Concat(nested...)
	}
	if int64(len(texts)) != in.Shape[0] {
		return nil, failf(http.StatusBadRequest, "input %q has shape %v and %d pictures", in.Name, in.Shape, len(texts))
	}
	var jobs []*job
	for i, text := range texts {
		file, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, failf(http.StatusBadRequest, "picture %d is not base64: %w", i, err)
		}
		pixels, err := s.prepare(r.Context(), file)
		if err != nil {
			return nil, fmt.Errorf("picture %d: %w", i, err)
		}
		jobs = append(jobs, &job{pixels: pixels})
	}
	return jobs, nil
}

// pixelJobs are pictures [n, 3, H, W] of red, green and blue from 0 to 255,
// either the crop that the network sees (H = W = size) or all that is kept
// around it (H = W = stored). The network's own mean and deviation apply.
func (s *Server) pixelJobs(in tensor) ([]*job, error) {
	input := s.config.Net.Input.WithDefaults()
	size, stored := int64(input.Size), int64(input.Stored)
	if len(in.Shape) != 4 || in.Shape[1] != 3 || in.Shape[2] != in.Shape[3] || in.Shape[2] != size && in.Shape[2] != stored {
		return nil, failf(http.StatusBadRequest, "input %q has shape %v: it must be [n, 3, %d, %[3]d] or [n, 3, %[4]d, %[4]d]", in.Name, in.Shape, size, stored)
	}
	if err := s.count(in.Shape[0]); err != nil {
		return nil, err
	}
	n, side := int(in.Shape[0]), int(in.Shape[2])
	values, err := flatten(in.Data, n*3*side*side)
	if err != nil {
		return nil, failf(http.StatusBadRequest, "data of input %q: %w", in.Name, err)
	}
	centre := input.CentreGeometry().Col(2) // where the crop lies
	left, top := int(centre[0]), int(centre[1])
	if side == int(stored) {
		left, top = 0, 0
	}
	var jobs []*job
	for i := range n {
		pixels := make([]byte, stored*stored*3)
		for c := range 3 {
			plane := values[(i*3+c)*side*side:][:side*side]
			for at, v := range plane {
				if !(v >= 0 && v <= 255) {
					return nil, failf(http.StatusBadRequest, "picture %d, channel %d, row %d, column %d is %g: colours are numbers from 0 to 255, which the network normalises itself", i, c, at/side, at%side, v)
				}
				x, y := left+at%side, top+at/side
				if x >= 0 && y >= 0 && x < int(stored) && y < int(stored) {
					pixels[(y*int(stored)+x)*3+c] = byte(math.RoundToEven(float64(v)))
				}
			}
		}
		jobs = append(jobs, &job{pixels: pixels})
	}
	return jobs, nil
}

// flatten reads numbers that are written flat or as nested lists, in row order.
func flatten(data json.RawMessage, want int) ([]float32, error) {
	values := make([]float32, 0, min(want, len(data)))
	err := json.Unmarshal(data, &values)
	if err != nil {
		values = values[:0]
		d := json.NewDecoder(bytes.NewReader(data))
		for {
			token, end := d.Token()
			if end == io.EOF {
				break
			}
			if end != nil {
				return nil, end
			}
			switch v := token.(type) {
			case float64:
				values = append(values, float32(v))
			case json.Delim:
				if v == '{' {
					return nil, fmt.Errorf("an object where numbers should be")
				}
			default:
				return nil, fmt.Errorf("%.40v where numbers should be", token)
			}
		}
	}
	if len(values) != want {
		return nil, fmt.Errorf("%d numbers: the shape has %d", len(values), want)
	}
	return values, nil
}
