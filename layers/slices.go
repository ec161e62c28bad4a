package layers

import "vkalexnet/engine"

// batchSlices cuts a batch whose examples take up to pitch words in any one
// buffer so that no argument is longer than the device may bind.
func batchSlices(r *engine.Recording, batch, pitch int) [][2]int {
	return cut(batch, r.MaxWords()/pitch)
}

// KeepPitch is the number of words per example in Slots.Keep: KeepWords rounded
// up so that every example begins where a buffer may.
func (p Plan) KeepPitch() int {
	return (p.KeepWords + exampleAlign - 1) / exampleAlign * exampleAlign
}
