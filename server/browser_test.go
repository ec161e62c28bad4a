package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	browserCheck = flag.Bool("browser", false, "drive Chromium through chromedriver")
	browserURL   = flag.String("browser-url", "", "server to look at (default: one with a tiny network)")
	browserFile  = flag.String("browser-picture", "", "picture to drop")
	screenshot   = flag.String("screenshot", "", "where to write what it looks like")
)

// webdriver speaks the W3C protocol with a chromedriver.
type webdriver struct {
	t    *testing.T
	base string // of the session
}

func (d webdriver) call(method, path string, body, value any) {
	d.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(d.t, err)
	if body == nil {
		text = nil
	}
	r, err := http.NewRequest(method, d.base+path, bytes.NewReader(text))
	require.NoError(d.t, err)
	res, err := http.DefaultClient.Do(r)
	require.NoError(d.t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(d.t, err)
	require.Equal(d.t, 200, res.StatusCode, "%s %s: %s", method, path, answer)
	if value != nil {
		require.NoError(d.t, json.Unmarshal(answer, &struct{ Value any }{value}))
	}
}

// script runs JavaScript in the page.
func (d webdriver) script(value any, script string, args ...any) {
	d.t.Helper()
	if args == nil {
		args = []any{}
	}
	d.call("POST", "/execute/sync", map[string]any{"script": script, "args": args}, value)
}

// TestPage drops a picture on the page in headless Chromium (`make serve-check`).
func TestPage(t *testing.T) {
	if !*browserCheck {
		t.Skip("needs Chromium: make serve-check")
	}
	url, file := *browserURL, pngOf(t, picture(3))
	if url == "" {
		s, _ := newTiny(t, Config{}, nil)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, listener) }()
		defer func() { stop(); require.NoError(t, <-done) }()
		url = "http://" + listener.Addr().String()
	}
	if *browserFile != "" {
		var err error
		file, err = os.ReadFile(*browserFile)
		require.NoError(t, err)
	}
	d := startBrowser(t)
	defer d.call("DELETE", "", nil, nil)
	d.call("POST", "/window/rect", map[string]int{"width": 1060, "height": 860}, nil)
	d.call("POST", "/url", map[string]string{"url": url + "/"}, nil)

	// Nothing comes from elsewhere.
	var origins []string
	d.script(&origins, `return [...new Set(performance.getEntriesByType("resource").map(e => new URL(e.name).origin))]`)
	require.Equal(t, []string{url}, origins)

	var slider bool
	d.script(&slider, `return document.getElementById("mix").checkVisibility()`)
	require.False(t, slider, "there is no heat map yet")

	const drop = `
		const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0)), data = new DataTransfer();
		data.items.add(new File([bytes], "picture"));
		document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));`
	type state struct {
		Status, Protocol, Model string
		Error                   bool
		Classes                 []string
		Pressed                 int
		Widths                  []int // of the two pictures, as decoded
		Visible                 bool
	}
	look := func() (s state) {
		d.script(&s, `
			const $ = id => document.getElementById(id), buttons = [...document.querySelectorAll("#classes button")];
			return {status: $("status").textContent, error: $("status").className === "error", protocol: $("protocol").textContent, model: $("model").textContent,
				classes: buttons.map(b => b.innerText), pressed: buttons.findIndex(b => b.getAttribute("aria-pressed") === "true"),
				widths: ["picture", "overlay"].map(id => $(id).complete ? $(id).naturalWidth : 0), visible: $("overlay").checkVisibility()}`)
		return s
	}
	wait := func(ready func(state) bool) (s state) {
		t.Helper()
		require.Eventually(t, func() bool { s = look(); return ready(s) }, 30*time.Second, 50*time.Millisecond)
		return s
	}

	d.script(nil, drop, base64.StdEncoding.EncodeToString([]byte("not a picture")))
	require.Contains(t, wait(func(s state) bool { return s.Error }).Status, "not a picture of a known kind")

	d.script(nil, drop, base64.StdEncoding.EncodeToString(file))
	s := wait(func(s state) bool { return strings.HasPrefix(s.Status, "answered") && s.Widths[1] > 0 })
	require.False(t, s.Error)
	require.True(t, s.Visible)
	require.Equal(t, 0, s.Pressed)
	require.NotEmpty(t, s.Protocol)
	require.Contains(t, s.Model, "classes")
	var a Answer
	res, err := http.Post(url+"/classify", "image/png", bytes.NewReader(file))
	require.NoError(t, err)
	defer res.Body.Close()
	require.NoError(t, json.NewDecoder(res.Body).Decode(&a))
	require.Len(t, s.Classes, len(a.Top))
	for i, rank := range a.Top { // text of a class stays text, "<fish>" too
		require.Contains(t, s.Classes[i], rank.Label)
		require.Contains(t, s.Classes[i], fmt.Sprintf("%.1f %%", 100*rank.Prob))
	}
	if *screenshot != "" {
		var shot string
		d.call("GET", "/screenshot", nil, &shot)
		data, err := base64.StdEncoding.DecodeString(shot)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(*screenshot, data, 0o644))
	}
	d.script(nil, `document.querySelectorAll("#classes button")[1].click()`)
	wait(func(s state) bool { return strings.HasPrefix(s.Status, "answered") && s.Pressed == 1 })
}

// startBrowser begins a session of headless Chromium in a profile of its own.
func startBrowser(t *testing.T) webdriver {
	path, err := exec.LookPath("chromedriver")
	require.NoError(t, err, "Debian: apt-get install chromium chromium-driver")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	driver := exec.Command(path, fmt.Sprintf("--port=%d", port))
	require.NoError(t, driver.Start())
	t.Cleanup(func() { _ = driver.Process.Kill(); _ = driver.Wait() })
	d := webdriver{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	require.Eventually(t, func() bool {
		res, err := http.Get(d.base + "/status")
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	}, 20*time.Second, 50*time.Millisecond)
	var session struct{ SessionID string }
	args := []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir=" + filepath.Join(t.TempDir(), "profile")}
	d.call("POST", "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"goog:chromeOptions": map[string]any{"args": args}}}}, &session)
	d.base += "/session/" + session.SessionID
	return d
}
