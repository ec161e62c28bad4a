package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
)

// classWeights reads --class-weights for the training pictures: "balanced",
// pairs as cat=2, or a file with such a pair on each line. A class that is not
// named has weight 1. Without words there are no weights (nil).
func classWeights(words []string, train loader.Source, classes int) ([]float32, error) {
	if len(words) == 0 {
		return nil, nil
	}
	if slices.Equal(words, []string{"balanced"}) {
		return loader.BalancedWeights(train, classes), nil
	}
	at := func(i int) string { return "--class-weights" }
	if len(words) == 1 && !strings.Contains(words[0], "=") {
		path := words[0]
		var lines []int
		var err error
		if words, lines, err = readPairs(path); err != nil {
			return nil, err
		}
		at = func(i int) string { return fmt.Sprintf("%s:%d", path, lines[i]) }
	}
	names := train.Classes()
	weights, given := make([]float32, classes), make([]bool, classes)
	for i := range weights {
		weights[i] = 1
	}
	for i, word := range words {
		cut := max(0, strings.LastIndexByte(word, '='))
		name := strings.TrimSpace(word[:cut])
		text := strings.TrimSpace(strings.TrimPrefix(word[cut:], "="))
		v, err := strconv.ParseFloat(text, 32)
		if cut == 0 || err != nil || !(float32(v) > 0) {
			return nil, usagef("%s: %q: it must be a class and a number above 0, as cat=2.5", at(i), word)
		}
		c := slices.Index(names, name)
		switch {
		case c < 0:
			return nil, usagef("%s: the training pictures have no class %q%s; they have %s", at(i), name, alexnet.DidYouMean(name, names), some(names))
		case given[c]:
			return nil, usagef("%s: class %q has a weight already", at(i), name)
		}
		weights[c], given[c] = float32(v), true
	}
	return weights, nil
}

// readPairs reads the lines of a file that are neither empty nor begin with #,
// and their numbers.
func readPairs(path string) (words []string, lines []int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, usagef("--class-weights %s: it must be balanced, pairs as cat=2,dog=0.5, or a file with a pair on each line, and there is no such file", path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read class weights: %w", err)
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(scan.Text(), "\ufeff"))
		if line != "" && !strings.HasPrefix(line, "#") {
			words, lines = append(words, line), append(lines, n)
		}
	}
	if err := scan.Err(); err != nil {
		return nil, nil, fmt.Errorf("read class weights %s: %w", path, err)
	}
	if len(words) == 0 {
		return nil, nil, usagef("--class-weights %s: the file names no class: each line must be a class and a number, as cat=2.5", path)
	}
	return words, lines, nil
}

// weightsText is the weights with their classes, for people.
func weightsText(weights []float32, names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = fmt.Sprintf("%s %.4g", name, weights[i])
	}
	return some(all)
}
