package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"os"
	"slices"

	"vkalexnet/loader"
)

// Answer is what POST /classify says of a picture.
type Answer struct {
	Model    string `json:"model"`
	Protocol string `json:"protocol"` // how the picture was prepared
	Top      []Rank `json:"top"`
	// HeatMap is there with ?explain=1: where the network saw its class.
	HeatMap *HeatMap `json:"heat_map,omitempty"`
}

// Rank is one of the likeliest classes.
type Rank struct {
	Class int     `json:"class"`
	Label string  `json:"label"`
	Prob  float32 `json:"prob"`
}

// HeatMap is a Grad-CAM. The pictures are PNG files as data URLs: what the
// network saw, and the same with the map over it.
type HeatMap struct {
	Class   int    `json:"class"`
	Label   string `json:"label"`
	Picture string `json:"picture"`
	Overlay string `json:"overlay"`
}

// about answers GET /model: what the page tells of the network.
func (s *Server) about(*http.Request) (any, error) {
	return map[string]any{"name": s.config.Name, "classes": s.config.Net.NumClasses(), "device": s.config.Exec.Name()}, nil
}

// classify answers POST /classify?k=5&explain=1&class=N: the body is a picture, or a
// form with one.
func (s *Server) classify(r *http.Request) (any, error) {
	classes := s.config.Net.NumClasses()
	k, err := number(r, "k", min(5, classes), 1, max(5, classes))
	if err != nil {
		return nil, err
	}
	explain, err := number(r, "explain", 0, 0, 1)
	if err != nil {
		return nil, err
	}
	class, err := number(r, "class", -1, 0, classes-1)
	if err != nil {
		return nil, err
	}
	body, err := s.file(r)
	if err != nil {
		return nil, err
	}
	pixels, err := s.prepare(r.Context(), body)
	if err != nil {
		return nil, err
	}
	out, err := s.batches.submit(r.Context(), &job{pixels: pixels})
	if err != nil {
		return nil, err
	}
	answer := &Answer{Model: s.config.Name, Protocol: s.config.Net.Input.Protocol(1)}
	for _, c := range out[0].Best(k) {
		answer.Top = append(answer.Top, Rank{c, s.config.Net.ClassName(c), out[0].Probs[c]})
	}
	if explain == 0 {
		return answer, nil
	}
	if class < 0 {
		class = answer.Top[0].Class
	}
	answer.HeatMap, err = s.heatMap(r.Context(), pixels, class)
	return answer, err
}

// heatMap explains a prepared picture.
func (s *Server) heatMap(ctx context.Context, pixels []byte, class int) (*HeatMap, error) {
	out, err := s.batches.submit(ctx, &job{pixels: pixels, explain: true, class: class})
	if err != nil {
		return nil, err
	}
	h := &HeatMap{Class: class, Label: s.config.Net.ClassName(class)}
	if h.Picture, err = dataURL(out[0].heat.Picture); err != nil {
		return nil, err
	}
	h.Overlay, err = dataURL(out[0].heat.Overlay())
	return h, err
}

func dataURL(picture image.Image) (string, error) {
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		return "", fmt.Errorf("encode the heat map: %w", err)
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(file.Bytes()), nil
}

// file is the request's body, or the first file of the form that it is.
func (s *Server) file(r *http.Request) ([]byte, error) {
	from := io.Reader(r.Body)
	if form, err := r.MultipartReader(); !errors.Is(err, http.ErrNotMultipart) {
		if err != nil {
			return nil, failf(http.StatusBadRequest, "read the form: %w", err)
		}
		for {
			part, err := form.NextPart()
			if errors.Is(err, io.EOF) {
				return nil, failf(http.StatusBadRequest, "the form has no file: send the picture as a file, or as the body itself")
			}
			if err != nil {
				return nil, s.readError(err)
			}
			if part.FileName() != "" {
				from = part
				break
			}
		}
	}
	body, err := io.ReadAll(from)
	if err != nil {
		return nil, s.readError(err)
	}
	return body, nil
}

// readError is the error of a body that did not come: too large, too slow, cut off.
func (s *Server) readError(err error) error {
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return failf(http.StatusRequestEntityTooLarge, "the body is larger than the %d bytes that this server takes (--max-body)", large.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return failf(http.StatusRequestTimeout, "the body did not come within %v (--timeout)", s.config.Timeout)
	}
	return failure{http.StatusBadRequest, fmt.Errorf("read the body: %w", err)}
}

// prepare decodes a picture and stores it as the network's input takes it, [Stored,
// Stored, 3]. No more pictures are decoded at a time than there are processors, and
// what was decoded, which may be large, is not kept.
func (s *Server) prepare(ctx context.Context, file []byte) ([]byte, error) {
	select {
	case s.decoders <- struct{}{}:
		defer func() { <-s.decoders }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to decode: %w", ctx.Err())
	}
	picture, err := loader.DecodeBytes(file, s.config.MaxPixels)
	if err != nil {
		return nil, failf(http.StatusBadRequest, "decode picture: %w", err)
	}
	in := s.config.Net.Input.WithDefaults()
	pixels := make([]byte, in.Stored*in.Stored*3)
	if err := loader.Store(pixels, picture, in.Stored, in.Resize); err != nil {
		return nil, failf(http.StatusBadRequest, "prepare picture: %w", err)
	}
	return pixels, nil
}

// writeJSON writes an answer.
func writeJSON(w http.ResponseWriter, status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(slices.Concat(body, []byte("\n"))) // a client that is gone needs no answer
}
