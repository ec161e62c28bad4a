package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vkalexnet/engine"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vkalexnet": main})
}

// TestScripts runs testdata/*.txtar: the commands as a user types them.
func TestScripts(t *testing.T) {
	device, err := vulkanDevice()
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"tiny.toml", "dot.png.b64"} {
				if err := copyFile(filepath.Join("testdata", name), filepath.Join(env.WorkDir, name)); err != nil {
					return err
				}
			}
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
			for _, name := range []string{"VK_DRIVER_FILES", "VK_ICD_FILENAMES"} {
				if value, ok := os.LookupEnv(name); ok {
					env.Setenv(name, value)
				}
			}
			env.Setenv("DEVICE", device)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "vulkan" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return device != "", nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exit":      cmdExit,
			"interrupt": cmdInterrupt,
			"serve":     cmdServe,
		},
	})
}

// vulkanDevice is the index of the device that "auto" takes, or of lavapipe
// where that is another, slower software driver; "" when there is none.
func vulkanDevice() (string, error) {
	infos, err := engine.Devices()
	if err != nil {
		return "", err
	}
	info, err := engine.Select(infos, "auto")
	if err != nil {
		return "", err
	}
	if info.Type == engine.Software {
		if lavapipe, err := engine.Select(infos, "llvmpipe"); err == nil {
			info = lavapipe
		}
	}
	return strconv.Itoa(info.Index), nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// cmdExit: `exit CODE PROGRAM ARG...` runs a program that must end with that code.
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			code = strings.TrimPrefix(exit.String(), "exit status ")
		} else {
			ts.Fatalf("%v", err)
		}
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, not %s", code, args[0])
	}
}

// cmdInterrupt: `interrupt FILE PROGRAM ARG...` sends the program SIGTERM as
// soon as the file is there and not empty; it must then end with code 130.
func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt FILE PROGRAM ARG...")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	ts.Check(cmd.Start())
	deadline := time.Now().Add(30 * time.Second)
	for {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
			break
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			ts.Fatalf("%s did not appear", args[0])
		}
		time.Sleep(5 * time.Millisecond)
	}
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		ts.Fatalf("exit code %d, not %d", code, exitInterrupted)
	}
}

// cmdServe: `serve PICTURE ARG...` starts `vkalexnet serve ARG...` on a free port,
// has it classify the picture, whose answer is the command's output, and ends
// it with SIGTERM, after which its exit code must be 0.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: serve PICTURE ARG...")
	}
	path, err := exec.LookPath("vkalexnet")
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"serve", "--listen", "127.0.0.1:0"}, args[1:]...)...)
	cmd.Dir = ts.Getenv("WORK")
	for _, name := range []string{"VK_DRIVER_FILES", "VK_ICD_FILENAMES", "XDG_CACHE_HOME"} {
		if value := ts.Getenv(name); value != "" { // an empty list of drivers would be none at all
			cmd.Env = append(cmd.Environ(), name+"="+value)
		}
	}
	messages, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	defer func() { _ = cmd.Process.Kill() }() // where it has not ended by then
	url := ""
	lines := bufio.NewScanner(messages)
	for url == "" && lines.Scan() {
		fmt.Fprintln(ts.Stderr(), lines.Text())
		if _, at, found := strings.Cut(lines.Text(), "http://"); found && strings.HasPrefix(lines.Text(), "serving ") {
			url = "http://" + at
		}
	}
	if url == "" {
		ts.Fatalf("it does not serve: %v", cmd.Wait())
	}
	go func() { _, _ = io.Copy(io.Discard, messages) }()
	picture, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer picture.Close()
	answer, err := http.Post(url+"classify?k=2&explain=1", "image/png", picture)
	ts.Check(err)
	defer answer.Body.Close()
	_, err = io.Copy(ts.Stdout(), answer.Body)
	ts.Check(err)
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	ts.Check(cmd.Wait())
}
