package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vkalexnet/alexnet"
)

// Where a flag's value comes from, strongest first: the command line, the
// environment, the file given with -c. What none of them sets is left to the
// network's [solver] table, then to the flag's default.
const (
	fromFlag    = "flag"
	fromEnv     = "environment"
	fromFile    = "file"
	originNote  = "vkalexnet_origin"
	envPrefix   = "VKALEXNET_"
	configFlag  = "config"
	resumedFlag = "resume"
	dryRunFlag  = "dry-run"
)

// notInFile are the flags that make no sense in a configuration file.
var notInFile = []string{configFlag, resumedFlag, dryRunFlag, "help"}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
func keyName(flag string) string  { return strings.ReplaceAll(flag, "-", "_") }
func flagName(key string) string  { return strings.ReplaceAll(key, "_", "-") }
func inFile(f *pflag.Flag) bool   { return !slices.Contains(notInFile, f.Name) && !f.Hidden }
func origin(f *pflag.Flag) string { return strings.Join(f.Annotations[originNote], "") }

func setFrom(flags *pflag.FlagSet, f *pflag.Flag, value, from string) error {
	var err error
	if list, ok := f.Value.(pflag.SliceValue); ok && value == "" {
		err = list.Replace(nil)
	} else {
		err = f.Value.Set(value)
	}
	if err != nil {
		return valueError(f, err)
	}
	f.Changed = true
	return flags.SetAnnotation(f.Name, originNote, []string{from})
}

// valueError says why a flag does not take a value, without the names of the
// functions that found out.
func valueError(f *pflag.Flag, err error) error {
	if number := (*strconv.NumError)(nil); errors.As(err, &number) {
		what := "a number"
		switch kind := f.Value.Type(); {
		case errors.Is(number.Err, strconv.ErrRange):
			what = "a number of a size that is possible here"
		case strings.HasPrefix(kind, "uint"):
			what = "a whole number from 0"
		case strings.HasPrefix(kind, "int"):
			what = "a whole number"
		case kind == "bool":
			what = "true or false"
		}
		return fmt.Errorf("%q is not %s", number.Num, what)
	}
	return err
}

// unknownVariables are the variables of the environment that begin as ours do and set
// nothing: neither a flag of any command nor one of others.
func unknownVariables(root *cobra.Command, others ...string) (unknown []string) {
	known := slices.Clone(others)
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, envName(f.Name)) })
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if value != "" && strings.HasPrefix(name, envPrefix) && !slices.Contains(known, name) {
			unknown = append(unknown, name+" in the environment sets nothing"+alexnet.DidYouMean(name, known))
		}
	}
	return unknown
}

// checkFinite refuses NaN and infinities, with which nothing can be computed and
// which a run's config.toml could not hold.
func checkFinite(flags *pflag.FlagSet) (failed error) {
	flags.VisitAll(func(f *pflag.Flag) {
		if !strings.HasPrefix(f.Value.Type(), "float64") {
			return
		}
		for _, text := range strings.Split(strings.Trim(f.Value.String(), "[]"), ",") {
			if v, err := strconv.ParseFloat(text, 64); err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
				failed = errors.Join(failed, fmt.Errorf("--%s %s: it must be a finite number", f.Name, text))
			}
		}
	})
	return failed
}

// applySettings fills the flags that the command line left alone from the
// environment and, for commands that have --config, from the TOML file.
func applySettings(cmd *cobra.Command) error {
	flags := cmd.Flags()
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			_ = flags.SetAnnotation(f.Name, originNote, []string{fromFlag})
			return
		}
		value, ok := os.LookupEnv(envName(f.Name))
		if !ok || f.Name == "help" {
			return
		}
		if err := setFrom(flags, f, value, fromEnv); err != nil {
			failed = errors.Join(failed, fmt.Errorf("environment: %s=%q: %w", envName(f.Name), value, err))
		}
	})
	if failed = errors.Join(failed, checkFinite(flags)); failed != nil {
		return failed
	}
	file := ""
	if f := flags.Lookup(configFlag); f != nil {
		file = f.Value.String()
		if resume := flags.Lookup(resumedFlag); file == "" && resume != nil && resume.Value.String() != "" {
			// A resumed run goes on with the settings that it was started with.
			file = configBeside(resume.Value.String())
		}
	}
	if file == "" {
		return nil
	}
	return errors.Join(applyFile(flags, file), checkFinite(flags))
}

// configBeside is the configuration file of the run that a checkpoint (or the
// folder it is in) belongs to, or "".
func configBeside(run string) string {
	info, err := os.Stat(run)
	if err != nil {
		return ""
	}
	if !info.IsDir() {
		run = filepath.Dir(run)
	}
	path := filepath.Join(run, "config.toml")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// applyFile fills the flags that nothing else has set. A file's keys are the
// long names of the flags with underscores.
func applyFile(flags *pflag.FlagSet, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var values map[string]any
	if _, err := toml.Decode(string(text), &values); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return fmt.Errorf("%s:%d: %s", path, syntax.Position.Line, syntax.Message)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	var known []string
	flags.VisitAll(func(f *pflag.Flag) {
		if inFile(f) {
			known = append(known, keyName(f.Name))
		}
	})
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool { return keyLine(text, keys[i]) < keyLine(text, keys[j]) })
	var failed error
	for _, key := range keys {
		at := fmt.Sprintf("%s:%d", path, keyLine(text, key))
		// Normalised, because a flag may have a second name.
		f := flags.Lookup(flagName(key))
		if f == nil || !inFile(f) {
			failed = errors.Join(failed, fmt.Errorf("%s: unknown key %q%s", at, key, alexnet.DidYouMean(key, known)))
			continue
		}
		value, err := flagText(values[key])
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %s: %w", at, key, err))
			continue
		}
		if f.Changed {
			continue
		}
		if err := setFrom(flags, f, value, fromFile); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %s = %s: %w", at, key, value, err))
		}
	}
	return failed
}

// keyLine is the line that sets a key, or 0.
func keyLine(text []byte, key string) int {
	at := regexp.MustCompile(`(?m)^[ \t]*\[?["']?` + regexp.QuoteMeta(key) + `["']?[ \t]*[]=.]`).FindIndex(text)
	if at == nil {
		return 0
	}
	return strings.Count(string(text[:at[0]]), "\n") + 1
}

// flagText is a TOML value as it would be typed after a flag.
func flagText(value any) (string, error) {
	switch v := value.(type) {
	case string, int64, float64, bool:
		return fmt.Sprint(v), nil
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			text, err := flagText(v[i])
			if err != nil {
				return "", err
			}
			parts[i] = text
		}
		return strings.Join(parts, ","), nil
	default:
		return "", fmt.Errorf("a %T is not a value for a flag", value)
	}
}

// settingsTOML writes the values of all flags as a file for -c, in the order of
// the help.
func settingsTOML(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if !inFile(f) {
			return
		}
		value := f.Value.String()
		// Lists are printed in brackets, as TOML wants them; its whole numbers end
		// at 63 bits.
		if _, err := strconv.ParseInt(value, 10, 64); f.Value.Type() == "string" || errors.Is(err, strconv.ErrRange) {
			value = tomlString(value)
		}
		if list, ok := f.Value.(pflag.SliceValue); ok && f.Value.Type() == "stringSlice" {
			words := list.GetSlice()
			for i := range words {
				words[i] = tomlString(words[i])
			}
			value = "[" + strings.Join(words, ", ") + "]"
		}
		fmt.Fprintf(&b, "%-18s = %s\n", keyName(f.Name), value)
	})
	return b.String()
}

func tomlString(s string) string {
	var b strings.Builder
	if err := toml.NewEncoder(&b).Encode(map[string]string{"x": s}); err != nil {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSpace(strings.TrimPrefix(b.String(), "x = "))
}
