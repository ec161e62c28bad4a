package alexnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
	"vkalexnet/weights"
)

// trials keep candidates that lose the device, hang, or end the process from being tried
// at every start. What is done for the first time is noted in a file that the process
// has locked, and struck out when it ended well. So what the note of a process says that
// is no more was fatal: it is not tried again with the same device, driver and kernels.
// Where it names several, as they are compiled side by side, each is tried alone
// instead. Nothing here is forced to the disk: a machine that goes down with the process
// may forget the note. Where files cannot be locked there are no notes, and only what
// lost the device is known.
type trials struct {
	info  *engine.Info
	path  string // of what is known; empty where there is no place for it
	known trialsFile

	note    *os.File // nil until something is on trial
	noNotes bool
	unlock  func()
}

// trial is a candidate, whatever the product.
type trial struct {
	Kernel string `json:"kernel"` // with the format: "eights in fp16"
	Name   string `json:"name"`   // the tuning's
	Why    string `json:"why,omitempty"`
}

// trialsFile is what trials keep for one device and driver. It counts only for the kernels
// that it was found with.
type trialsFile struct {
	Device   string  `json:"device"`
	Driver   string  `json:"driver"`
	Kernels  string  `json:"kernels"` // shaders.Hash
	Fatal    []trial `json:"fatal,omitempty"`
	Suspects []trial `json:"suspects,omitempty"` // one of several was
}

// trialNote is what a process is trying.
type trialNote struct {
	Kernels string  `json:"kernels"`
	On      []trial `json:"on"`
}

// trialPatience is how long a user waits for a kernel that hangs before interrupting
// twice, at least: what was interrupted earlier is not to blame. On software drivers
// kernels take as long.
const trialPatience = 10 * time.Second

// trialNotes are the notes of the process, for AbandonTrials: their paths, and whether
// they are of a software driver.
var trialNotes sync.Map

// AbandonTrials is for a process that is about to end because its user says so: the
// candidates that [Tune] is trying are not to blame, unless they hang.
func AbandonTrials() {
	trialNotes.Range(func(path, software any) bool {
		if info, err := os.Stat(path.(string)); err == nil && (software.(bool) || time.Since(info.ModTime()) < trialPatience) {
			_ = os.Remove(path.(string))
		}
		return true
	})
}

// openTrials reads what is known of a device's candidates, and what ended other processes.
// With again, what was fatal is tried once more.
func openTrials(info *engine.Info, again bool) *trials {
	t := &trials{info: info, known: trialsFile{info.Name, info.DriverKey, shaders.Hash(), nil, nil}}
	dir := engine.CacheDir()
	if dir == "" {
		return t
	}
	t.path = filepath.Join(dir, "trials-"+info.DriverKey+".json")
	var f trialsFile
	if data, err := os.ReadFile(t.path); err == nil && json.Unmarshal(data, &f) == nil && f.Driver == info.DriverKey && f.Kernels == shaders.Hash() {
		t.known = f
	}
	changed := again && len(t.known.Fatal) > 0
	notes, _ := filepath.Glob(filepath.Join(dir, "trial-"+info.DriverKey+"-*.json"))
	for _, path := range notes {
		unlock, err := weights.Lock(path)
		if err != nil {
			continue // its process lives, or nobody can tell
		}
		var note trialNote
		if data, err := os.ReadFile(path); err == nil && json.NewDecoder(bytes.NewReader(data)).Decode(&note) == nil && note.Kernels == shaders.Hash() {
			changed = t.condemn(note.On, "the process ended when it was first tried") || changed
		}
		_ = os.Remove(path)
		unlock()
	}
	if again { // alone, so that what is fatal still is known by name
		for _, f := range t.known.Fatal {
			f.Why = ""
			t.known.Suspects = append(t.known.Suspects, f)
		}
		t.known.Fatal = nil
	}
	if changed {
		t.save()
	}
	return t
}

// condemn notes what was fatal, or might have been.
func (t *trials) condemn(on []trial, why string) bool {
	for _, of := range on {
		t.clear(of)
		switch {
		case t.fatal(of) != "": // another process found out
		case len(on) == 1:
			of.Why = why
			t.known.Fatal = append(t.known.Fatal, of)
		default:
			t.known.Suspects = append(t.known.Suspects, of)
		}
	}
	return len(on) > 0
}

// clear takes a candidate from the suspects, and says whether it was one.
func (t *trials) clear(of trial) bool {
	n := len(t.known.Suspects)
	t.known.Suspects = slices.DeleteFunc(t.known.Suspects, func(s trial) bool { return s == of })
	return len(t.known.Suspects) < n
}

func (t *trials) suspect(of trial) bool { return slices.Contains(t.known.Suspects, of) }

// fatal says why a candidate is not tried: it was fatal, or two of its kernel's tiles were,
// so that not each of them has to be. It is empty for others.
func (t *trials) fatal(of trial) string {
	var alike []string
	for _, f := range t.known.Fatal {
		if f.Kernel == of.Kernel {
			if f.Name == of.Name {
				return f.Why
			}
			alike = append(alike, f.Name)
		}
	}
	if len(alike) < 2 {
		return ""
	}
	return fmt.Sprintf("%s of the same kernel were fatal", strings.Join(alike, " and "))
}

// warning tells in a line what is not tried, or tried alone; it is empty where all is well.
func (t *trials) warning() string {
	var texts []string
	for _, f := range t.known.Fatal {
		texts = append(texts, fmt.Sprintf("%s (%s): %s", f.Name, f.Kernel, f.Why))
	}
	switch {
	case len(texts) > 0:
		return fmt.Sprintf("not tried any more on %s: %s; vkalexnet tune --again tries it once more", t.info.Name, strings.Join(texts, ", "))
	case len(t.known.Suspects) > 0:
		return fmt.Sprintf("a process ended while %d kernels were compiled for %s: each is tried alone now", len(t.known.Suspects), t.info.Name)
	}
	return ""
}

// attempt does what has to do with candidates for the first time.
func (t *trials) attempt(on []trial, do func() error) error {
	t.begin(on)
	err := do()
	t.begin(nil)
	if len(on) > 0 && errors.Is(err, engine.ErrDeviceLost) {
		t.condemn(on, "the device was lost when it was first tried")
		t.save()
		if len(on) > 1 {
			return fmt.Errorf("%w while %d kernels were compiled: start again, and each will be tried alone", err, len(on))
		}
		return fmt.Errorf("%w while %s ran for the first time: start again, and it will not be tried", err, on[0].Name)
	}
	if len(on) == 1 && t.clear(on[0]) {
		t.save()
	}
	return err
}

// begin notes what is on trial from now on.
func (t *trials) begin(on []trial) {
	if t.noNotes || len(on) == 0 && t.note == nil {
		return
	}
	if t.note == nil {
		if t.noNotes = t.openNote() != nil; t.noNotes {
			return
		}
	}
	data, _ := json.Marshal(trialNote{shaders.Hash(), on}) // strings cannot fail
	// In place, as the lock is the file's. Should the process die in between, the end of a
	// longer note is left there, and not read.
	if _, err := t.note.WriteAt(data, 0); err == nil {
		_ = t.note.Truncate(int64(len(data)))
	}
}

func (t *trials) openNote() error {
	if t.path == "" {
		return errors.ErrUnsupported
	}
	dir := filepath.Dir(t.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	note, err := os.CreateTemp(dir, "trial-"+t.info.DriverKey+"-*.json")
	if err != nil {
		return err
	}
	if t.unlock, err = weights.Lock(note.Name()); err != nil {
		note.Close()
		_ = os.Remove(note.Name())
		return err
	}
	t.note = note
	trialNotes.Store(note.Name(), t.info.Type == engine.Software)
	return nil
}

// close forgets the note. The process lives, so nothing on it was fatal.
func (t *trials) close() {
	if t.note == nil {
		return
	}
	trialNotes.Delete(t.note.Name())
	_ = os.Remove(t.note.Name())
	t.note.Close()
	t.unlock()
	t.note = nil
}

// save keeps what is known. It is a convenience like the choices: without it a candidate
// is tried again.
func (t *trials) save() {
	if t.path == "" {
		return
	}
	data, _ := json.MarshalIndent(t.known, "", "\t") // strings cannot fail
	if os.MkdirAll(filepath.Dir(t.path), 0o755) == nil {
		_ = weights.Replace(t.path, func(w io.Writer) error { _, err := w.Write(data); return err })
	}
}

// trialOf is the trial of a candidate for a product.
func trialOf(p layers.Product, t layers.Tuning) trial {
	operands, _ := p.Formats()
	return trial{Kernel: fmt.Sprintf("%s in %s", t.Kind(), operands), Name: t.Name}
}
