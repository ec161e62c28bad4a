package alexnet

import (
	"fmt"
	"strings"

	"vkalexnet/loader"
)

// Protocols are the names of [Network.WithProtocol].
var Protocols = []string{"caffe", "torchvision", "paper10"}

// WithProtocol is the network with pictures prepared for evaluation as a
// published number was measured, and the number of views to average over:
//
//   - "caffe": warped to 256×256 as OpenCV does, whose cv::resize Caffe's tools
//     call, centre crop (Caffe's bvlc_alexnet: 57.1 %);
//   - "torchvision": short side 256, antialiased bilinear, centre crop;
//   - "paper10": short side 256, its centre square, ten views, their
//     probabilities averaged (Krizhevsky et al. 2012, sections 2 and 4.1).
//
// The crop is the network's own input. 256 belongs to crops of 224 and 227; for
// others the stored side is in the same proportion, 8/7. Channel order, mean
// and deviation stay the network's.
func (n *Network) WithProtocol(name string) (*Network, int, error) {
	c := *n
	c.Input = n.Input.WithDefaults()
	if size := c.Input.Size; size >= 224 && size <= 256 {
		c.Input.Stored = 256
	} else {
		c.Input.Stored = (size*8 + 3) / 7
	}
	c.Input.Augment.Pad = 0
	crops := 1
	switch name {
	case "caffe":
		c.Input.Resize = "opencv"
	case "torchvision":
		c.Input.Resize = "short"
	case "paper10":
		c.Input.Resize, crops = "short", 10
	default:
		return nil, 0, fmt.Errorf("protocol %q is not known%s", name, suggest(name, append([]string{}, Protocols...)))
	}
	return &c, crops, c.Input.Check()
}

// ClassScore is how well one class is told from the others.
type ClassScore struct {
	Class int    `json:"class"`
	Name  string `json:"name"`
	// Images is how many pictures are of the class; Answers how many the
	// network took for it.
	Images  int `json:"images"`
	Answers int `json:"answers"`
	// Precision is the share (0 to 1) of the answers that are right, Recall
	// that of the pictures that were found, F1 their harmonic mean. Without
	// answers or pictures a share is 0.
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
}

// Scores are those of every class, from a confusion matrix [right][best].
func (n *Network) Scores(confusion [][]int) []ClassScore {
	scores := make([]ClassScore, len(confusion))
	for i, row := range confusion {
		s := &scores[i]
		s.Class, s.Name = i, n.ClassName(i)
		for j, count := range row {
			s.Images += count
			scores[j].Answers += count
		}
	}
	for i := range scores {
		s := &scores[i]
		right := float64(confusion[i][i])
		if s.Answers > 0 {
			s.Precision = right / float64(s.Answers)
		}
		if s.Images > 0 {
			s.Recall = right / float64(s.Images)
		}
		if s.Images+s.Answers > 0 {
			s.F1 = 2 * right / float64(s.Images+s.Answers)
		}
	}
	return scores
}

// protocolName puts a protocol's name before its line.
func protocolName(name string, in loader.Input, crops int) string {
	return strings.TrimPrefix(name+": ", ": ") + in.Protocol(crops)
}
