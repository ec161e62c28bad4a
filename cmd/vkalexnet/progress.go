package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	barWidth = 12
	// barColumns is what stands beside the text: the share done, and the bar.
	barColumns = barWidth + 9
)

// plainEvery is how often a line is printed where there is no terminal.
const plainEvery = 5 * time.Second

// progress shows how far a command is: a bar on a terminal, and a plain line
// every few seconds elsewhere. It may be used by several goroutines.
type progress struct {
	w     io.Writer
	unit  string
	bar   *progressbar.ProgressBar // nil where w is no terminal
	total int

	mu    sync.Mutex
	done  int
	shown int // what the last plain line said
	last  time.Time
}

// newProgress starts at `first` of `total` units ("step"), 0: unknown.
func newProgress(w io.Writer, unit string, first, total int) *progress {
	p := &progress{w: w, unit: unit, total: total, done: first}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		length := total
		if length == 0 {
			length = -1
		}
		p.bar = progressbar.NewOptions(length,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetWidth(barWidth),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░"}),
		)
		_ = p.bar.Set(first)
	}
	return p
}

// update says that `done` units are behind us; text is what else is to be known.
func (p *progress) update(done int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	if p.bar != nil {
		if f, ok := p.w.(*os.File); ok {
			if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
				text = fit(text, columns-barColumns)
			}
		}
		p.bar.Describe(text)
		_ = p.bar.Set(done)
		return
	}
	if now := time.Now(); now.Sub(p.last) >= plainEvery || done == p.total && p.shown < done {
		p.last, p.shown = now, done
		if p.total > 0 {
			fmt.Fprintf(p.w, "%s %d/%d  %s\n", p.unit, done, p.total, text)
		} else {
			fmt.Fprintf(p.w, "%s %d  %s\n", p.unit, done, text)
		}
	}
}

// fit leaves out the last parts of a text, which two spaces part, until it has
// at most that many columns: a line that wraps could not be drawn over.
func fit(text string, columns int) string {
	for utf8.RuneCountInString(text) > columns {
		cut := strings.LastIndex(text, "  ")
		if cut < 0 {
			return ""
		}
		text = text[:cut]
	}
	return text
}

// say prints a line that stays, above the bar.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintf(p.w, format+"\n", args...)
	if p.bar != nil && p.done < p.total {
		_ = p.bar.RenderBlank()
	}
}

// stop takes the bar away.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// roundTime is a time as people say it.
func roundTime(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", math.Ceil(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
}
