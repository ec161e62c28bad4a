package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// variablePrefixes begin the names of environment variables that drivers, their
// loader and this program heed.
var variablePrefixes = []string{"VKALEXNET_", "VK_", "LP_", "GALLIVM_", "RADV_", "MESA_", "ANV_", "GOMAXPROCS", "GOGC"}

// NewEnvironment describes this process, with these kernels (shaders.Hash), and machine. What the operating system
// does not tell is left empty.
func NewEnvironment(version, shaders string) Environment {
	e := Environment{Program: "vkalexnet", Version: version, GoVersion: runtime.Version(), Time: time.Now().UTC().Format(time.RFC3339),
		OS: runtime.GOOS + "/" + runtime.GOARCH, Threads: runtime.NumCPU(), Command: slices.Clone(os.Args), Variables: map[string]string{}}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				e.Commit = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					e.Version += " (modified)"
				}
			}
		}
	}
	e.Shaders = shaders
	e.Kernel = firstLine("/proc/sys/kernel/osrelease")
	e.CPU = field("/proc/cpuinfo", "model name")
	kib, _, _ := strings.Cut(field("/proc/meminfo", "MemTotal"), " ")
	if n, err := strconv.ParseUint(kib, 10, 54); err == nil {
		e.Memory = n << 10
	}
	e.Governor = firstLine("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	minute, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	if v, err := strconv.ParseFloat(minute, 64); err == nil {
		e.Load = &v
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if slices.ContainsFunc(variablePrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			e.Variables[name] = value
		}
	}
	return e
}

// Busy says that other programs keep the machine busy, or is empty.
func (e Environment) Busy() string {
	if e.Load == nil || *e.Load < 0.3*float64(e.Threads) || *e.Load < 0.5 {
		return ""
	}
	return fmt.Sprintf("the machine was busy before the run (load %.1f on %d threads): times may be too long", *e.Load, e.Threads)
}

func firstLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// field is the first value of "name : value" lines.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
