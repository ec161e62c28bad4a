package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
)

const tinyNet = `
name = "tiny"
[input]
size = 8
stored = 12
mean = [100, 110, 120]
std = [50, 50, 50]
[[layers]]
name = "conv1"
kind = "conv"
out = 4
kernel = 3
[[layers]]
name = "relu1"
kind = "relu"
[[layers]]
name = "fc2"
kind = "linear"
out = 3
`

// watched is an executor whose batches a test sees, holds and breaks.
type watched struct {
	alexnet.Executor
	alexnet.Inspector
	busy  atomic.Int32
	eval  func(b *loader.Batch) error
	sizes []int // of the batches; read after the server is closed
}

func (w *watched) Eval(b *loader.Batch) (alexnet.BatchResult, error) {
	if w.busy.Add(1) != 1 {
		panic("an executor is used by one goroutine at a time")
	}
	defer w.busy.Add(-1)
	w.sizes = append(w.sizes, b.N)
	if w.eval != nil {
		if err := w.eval(b); err != nil {
			return alexnet.BatchResult{}, err
		}
	}
	return w.Executor.Eval(b)
}

// newTiny is a server of a small network with random weights, on the CPU reference.
func newTiny(t testing.TB, config Config, eval func(*loader.Batch) error) (*Server, *watched) {
	t.Helper()
	net, err := alexnet.ParseNetwork([]byte(tinyNet), "tiny.toml")
	require.NoError(t, err)
	net.Classes = []string{"cat", "dog", "<fish>"}
	config.Net = net
	exec, err := alexnet.NewReference(net, config.WithDefaults().MaxBatch, alexnet.ExecOptions{Inference: true})
	require.NoError(t, err)
	params, err := net.InitialParams(1)
	require.NoError(t, err)
	for _, p := range params {
		for i := range p.Data {
			p.Data[i] = float32((i*7919+13)%101)/101 - 0.5
		}
	}
	require.NoError(t, exec.SetParams(params))
	w := &watched{Executor: exec, Inspector: exec.(alexnet.Inspector), eval: eval}
	config.Exec = w
	s, err := New(config)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, w
}

func picture(seed int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, 12, 12))
	for i := range 144 {
		img.Set(i%12, i/12, color.RGBA{uint8(i * seed), uint8(i*3 + seed*40), uint8(seed * 90), 255})
	}
	return img
}

func pngOf(t testing.TB, img image.Image) []byte {
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, img))
	return file.Bytes()
}

// ask sends a request and reads the JSON of its answer.
func ask(h http.Handler, method, path string, body []byte, answer any) (int, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewReader(body)))
	if err := json.Unmarshal(w.Body.Bytes(), answer); err != nil {
		return w.Code, fmt.Errorf("%s %s: %w in %q", method, path, err, w.Body)
	}
	return w.Code, nil
}

type inferAnswer struct {
	ID      string `json:"id"`
	Error   string `json:"error"`
	Outputs []struct {
		Name  string          `json:"name"`
		Shape []int           `json:"shape"`
		Data  json.RawMessage `json:"data"`
	} `json:"outputs"`
}

// expected is what Classify, another way through the project, says of a picture.
func expected(t *testing.T, s *Server, img image.Image) alexnet.Prediction {
	t.Helper()
	var p alexnet.Prediction
	err := alexnet.Classify(context.Background(), s.config.Exec, s.config.Net, one{img}, alexnet.EvalOptions{Batch: 1}, func(q alexnet.Prediction) error {
		p = q
		return nil
	})
	require.NoError(t, err)
	return p
}

type one struct{ image.Image }

func (one) Len() int                        { return 1 }
func (one) Classes() []string               { return nil }
func (one) Label(int) int                   { return -1 }
func (one) Name(int) string                 { return "one" }
func (o one) Open(int) (image.Image, error) { return o.Image, nil }

func TestClassify(t *testing.T) {
	s, _ := newTiny(t, Config{}, nil)
	want := expected(t, s, picture(3))
	var got Answer
	code, err := ask(s, "POST", "/classify?k=3&explain=1", pngOf(t, picture(3)), &got)
	require.NoError(t, err)
	require.Equal(t, 200, code)
	require.Len(t, got.Top, 3)
	for i, class := range want.Best(3) {
		require.Equal(t, Rank{class, s.config.Net.Classes[class], want.Probs[class]}, got.Top[i])
	}
	require.Equal(t, got.Top[0].Class, got.HeatMap.Class)
	for _, url := range []string{got.HeatMap.Picture, got.HeatMap.Overlay} {
		file, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(url, "data:image/png;base64,"))
		require.NoError(t, err)
		img, err := png.Decode(bytes.NewReader(file))
		require.NoError(t, err)
		require.Equal(t, image.Rect(0, 0, 8, 8), img.Bounds())
	}
}

// All three forms of an input give the bits that infer gives.
func TestInferForms(t *testing.T) {
	s, _ := newTiny(t, Config{}, nil)
	pictures := []image.Image{picture(1), picture(2)}
	var files []string
	planes := func(low, high int) string { // [n, 3, H, W] as nested lists
		var n []any
		for _, p := range pictures {
			var cs []any
			for c := range 3 {
				var rows [][]int
				for y := low; y < high; y++ {
					var row []int
					for x := low; x < high; x++ {
						r, g, b, _ := p.At(x, y).RGBA()
						row = append(row, int([3]uint32{r, g, b}[c]>>8))
					}
					rows = append(rows, row)
				}
				cs = append(cs, rows)
			}
			n = append(n, cs)
		}
		text, err := json.Marshal(n)
		require.NoError(t, err)
		return string(text)
	}
	for _, p := range pictures {
		files = append(files, base64.StdEncoding.EncodeToString(pngOf(t, p)))
	}
	encoded, err := json.Marshal(files)
	require.NoError(t, err)
	flat := "[" + strings.NewReplacer("[", "", "]", "").Replace(planes(0, 12)) + "]"
	for name, input := range map[string]string{
		"BYTES":        `{"name":"image","datatype":"BYTES","shape":[2],"data":` + string(encoded) + `}`,
		"FP32 crop":    `{"name":"pixels","datatype":"FP32","shape":[2,3,8,8],"data":` + planes(2, 10) + `}`,
		"FP32 flat":    `{"name":"pixels","datatype":"FP32","shape":[2,3,12,12],"data":` + flat + `}`,
		"UINT8 stored": `{"name":"pixels","datatype":"UINT8","shape":[2,3,12,12],"data":` + planes(0, 12) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, route := range []string{"/v2/models/tiny/infer", "/v2/models/tiny/versions/1/infer"} {
				var got inferAnswer
				code, err := ask(s, "POST", route, []byte(`{"id":"7","inputs":[`+input+`],"outputs":[{"name":"logits"},{"name":"label"},{"name":"probabilities"}]}`), &got)
				require.NoError(t, err)
				require.Equal(t, 200, code, got.Error)
				require.Equal(t, "7", got.ID)
				var logits, probs []float32
				var labels []string
				require.Len(t, got.Outputs, 3)
				require.NoError(t, json.Unmarshal(got.Outputs[0].Data, &logits))
				require.NoError(t, json.Unmarshal(got.Outputs[1].Data, &labels))
				require.NoError(t, json.Unmarshal(got.Outputs[2].Data, &probs))
				require.Equal(t, []int{2, 3}, got.Outputs[0].Shape)
				for i, p := range pictures {
					want := expected(t, s, p)
					require.Equal(t, want.Logits, logits[3*i:][:3])
					require.Equal(t, want.Probs, probs[3*i:][:3])
					require.Equal(t, s.config.Net.Classes[want.Best(1)[0]], labels[i])
				}
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	s, _ := newTiny(t, Config{Name: "mine"}, nil)
	for path, want := range map[string]string{
		"/v2":                              `"name":"vkalexnet"`,
		"/v2/health/live":                  `{"live":true}`,
		"/v2/health/ready":                 `{"ready":true}`,
		"/v2/models/mine":                  `{"name":"pixels","datatype":"FP32","shape":[-1,3,8,8]}`,
		"/v2/models/mine/versions/1":       `"platform":"vkalexnet"`,
		"/v2/models/mine/ready":            `"ready":true`,
		"/v2/models/mine/versions/1/ready": `"ready":true`,
		"/":                                `Drop a picture here`,
		"/app.js":                          `fetch(`,
		"/metrics":                         `vkalexnet_requests_total{code="200",route="GET /v2/health/live"}`,
	} {
		if path == "/metrics" {
			var live map[string]any
			_, err := ask(s, "GET", "/v2/health/live", nil, &live)
			require.NoError(t, err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		require.Equal(t, 200, w.Code, path)
		require.Contains(t, w.Body.String(), want, path)
	}
}

func TestRefusals(t *testing.T) {
	s, _ := newTiny(t, Config{MaxBody: 4000, MaxPixels: 1000, MaxBatch: 2, MaxQueue: 4}, nil)
	infer := "/v2/models/tiny/infer"
	input := func(name, kind, shape, data string) string {
		return fmt.Sprintf(`{"inputs":[{"name":%q,"datatype":%q,"shape":%s,"data":%s}]}`, name, kind, shape, data)
	}
	large := pngOf(t, image.NewGray(image.Rect(0, 0, 40, 40)))
	for _, c := range []struct {
		path, body string
		code       int
		want       string
	}{
		{"/classify", "", 400, "the file is empty"},
		{"/classify", "hello", 400, "not a picture of a known kind"},
		{"/classify", strings.Repeat("x", 5000), 413, "larger than the 4000 bytes"},
		{"/classify", string(large), 400, "40×40"},
		{"/classify?k=0", "", 400, "from 1 to"},
		{"/classify?class=3", "", 400, "from 0 to 2"},
		{"/classify?explain=yes", "", 400, "from 0 to 1"},
		{infer, "", 400, "not a request of the Open Inference Protocol"},
		{infer, "{}", 400, "0 inputs"},
		{"/v2/models/other/infer", "{}", 404, `no model "other"`},
		{"/v2/models/tiny/versions/2/infer", "{}", 404, `no version "2"`},
		{infer, `{"outputs":[{"name":"x"}]}`, 400, "no output"},
		{infer, input("x", "FP32", "[1]", "[]"), 400, "must be"},
		{infer, input("pixels", "INT64", "[1]", "[]"), 400, "must be"},
		{infer, input("pixels", "FP32", "[1,3,9,9]", "[]"), 400, "[n, 3, 8, 8]"},
		{infer, input("pixels", "FP32", "[1,3,8,8]", "[1,2]"), 400, "2 numbers: the shape has 192"},
		{infer, input("pixels", "FP32", "[1,3,8,8]", "["+strings.Repeat("256,", 191)+"1]"), 400, "from 0 to 255"},
		{infer, input("pixels", "FP32", "[1,3,8,8]", `[["a"]]`), 400, "where numbers should be"},
		{infer, input("pixels", "FP32", "[1,3,8,8]", `[1e99]`), 400, "numbers"},
		{infer, input("pixels", "FP32", "[9223372036854775807,3,8,8]", "[]"), 400, "1 to 4"},
		{infer, input("pixels", "FP32", "[-1,3,8,8]", "[]"), 400, "1 to 4"},
		{infer, input("image", "BYTES", "[2]", `["aGVsbG8="]`), 400, "1 pictures"},
		{infer, input("image", "BYTES", "[1]", `["!"]`), 400, "not base64"},
		{infer, input("image", "BYTES", "[1]", `["aGVsbG8="]`), 400, "picture 0"},
	} {
		var got inferAnswer
		code, err := ask(s, "POST", c.path, []byte(c.body), &got)
		require.NoError(t, err)
		require.Equal(t, c.code, code, "%s %.60s: %s", c.path, c.body, got.Error)
		require.Contains(t, got.Error, c.want)
	}
}

// Every answer that is an error is JSON, also where there is no such route or method.
func TestNoSuchRoute(t *testing.T) {
	s, _ := newTiny(t, Config{Version: "v1.2"}, nil)
	for _, c := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "/nothing", 404, "nothing at /nothing"},
		{"GET", "/page/index.html", 404, "nothing at"},
		{"GET", "/classify", 405, "takes POST"},
		{"OPTIONS", "/classify", 405, "takes POST"},
		{"DELETE", "/v2", 405, "takes GET"},
		{"PUT", "/", 405, "takes GET"},
	} {
		var got inferAnswer
		code, err := ask(s, c.method, c.path, nil, &got)
		require.NoError(t, err)
		require.Equal(t, c.code, code, "%s %s", c.method, c.path)
		require.Contains(t, got.Error, c.want)
	}
	var got map[string]any
	_, err := ask(s, "GET", "/v2", nil, &got)
	require.NoError(t, err)
	require.Equal(t, "v1.2", got["version"])
}

// A form with a picture, as browsers and `curl -F` send it, has the answer of the picture.
func TestForm(t *testing.T) {
	s, _ := newTiny(t, Config{MaxBody: 4000}, nil)
	post := func(withFile bool, file []byte) (code int, text string) {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		require.NoError(t, form.WriteField("note", "a field, no file"))
		if withFile {
			part, err := form.CreateFormFile("file", "dot.png")
			require.NoError(t, err)
			_, err = part.Write(file)
			require.NoError(t, err)
		}
		require.NoError(t, form.Close())
		r := httptest.NewRequest("POST", "/classify?k=1", &body)
		r.Header.Set("Content-Type", form.FormDataContentType())
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	file := pngOf(t, picture(3))
	r := httptest.NewRecorder()
	s.ServeHTTP(r, httptest.NewRequest("POST", "/classify?k=1", bytes.NewReader(file)))
	code, text := post(true, file)
	require.Equal(t, 200, code, text)
	require.Equal(t, r.Body.String(), text)
	code, text = post(false, nil)
	require.Equal(t, 400, code)
	require.Contains(t, text, "the form has no file")
	code, text = post(true, make([]byte, 5000))
	require.Equal(t, 413, code)
	require.Contains(t, text, "larger than the 4000 bytes")
}

// Pictures that come while the device is busy share the next batches; what the
// queue has no room for is refused at once.
func TestBatchesAndFullQueue(t *testing.T) {
	hold, started := make(chan struct{}), make(chan struct{}, 100)
	s, w := newTiny(t, Config{MaxBatch: 4, MaxQueue: 8}, func(*loader.Batch) error {
		started <- struct{}{}
		<-hold
		return nil
	})
	file := pngOf(t, picture(5))
	codes := make(chan int, 100)
	send := func() {
		var a Answer
		code, _ := ask(s, "POST", "/classify", file, &a)
		codes <- code
	}
	go send()
	<-started // one is on the device; its place among the requests is taken
	for range 7 {
		go send()
	}
	require.Eventually(t, func() bool { return s.batches.waiting.Load() == 7 }, 5*time.Second, time.Millisecond)
	var a inferAnswer
	w429 := httptest.NewRecorder()
	s.ServeHTTP(w429, httptest.NewRequest("POST", "/classify", bytes.NewReader(file)))
	require.NoError(t, json.Unmarshal(w429.Body.Bytes(), &a))
	require.Equal(t, 429, w429.Code)
	require.Equal(t, "1", w429.Header().Get("Retry-After"))
	require.Contains(t, a.Error, "queue is full")
	close(hold)
	for range 8 {
		require.Equal(t, 200, <-codes)
	}
	s.Close()
	require.Equal(t, []int{1, 4, 3}, w.sizes)
}

func TestTimeoutAndDeviceLost(t *testing.T) {
	hold := make(chan struct{})
	s, _ := newTiny(t, Config{Timeout: 50 * time.Millisecond}, func(*loader.Batch) error { <-hold; return nil })
	var a inferAnswer
	code, err := ask(s, "POST", "/classify", pngOf(t, picture(1)), &a)
	require.NoError(t, err)
	require.Equal(t, 504, code, a.Error)
	close(hold)

	s, _ = newTiny(t, Config{}, func(*loader.Batch) error { return fmt.Errorf("submit: %w", alexnet.ErrDeviceLost) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), listener) }()
	code, err = ask(s, "POST", "/classify", pngOf(t, picture(1)), &a)
	require.NoError(t, err)
	require.Equal(t, 503, code)
	code, err = ask(s, "GET", "/v2/health/ready", nil, &a)
	require.NoError(t, err)
	require.Equal(t, 503, code)
	require.True(t, errors.Is(<-done, alexnet.ErrDeviceLost))
}

// A client that does not send its picture in time is told so.
func TestSlowClient(t *testing.T) {
	s, _ := newTiny(t, Config{Timeout: 100 * time.Millisecond}, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(answer), "HTTP/1.1 408 ")
	require.Contains(t, string(answer), "the body did not come within 100ms (--timeout)")
	stop()
	require.NoError(t, <-done)
}

// A server that is told to stop answers what is under way and takes nothing new.
func TestGracefulShutdown(t *testing.T) {
	started, hold := make(chan struct{}), make(chan struct{})
	s, _ := newTiny(t, Config{}, func(*loader.Batch) error { close(started); <-hold; return nil })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done, answered := make(chan error, 1), make(chan int, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	url := "http://" + listener.Addr().String() + "/classify"
	go func() {
		res, err := http.Post(url, "image/png", bytes.NewReader(pngOf(t, picture(1))))
		if err != nil {
			answered <- 0
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		answered <- res.StatusCode
	}()
	<-started
	stop()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	}, 5*time.Second, 5*time.Millisecond)
	close(hold)
	require.Equal(t, 200, <-answered)
	require.NoError(t, <-done)
}

// Many clients at once: every answer is that of its own picture.
func TestAnswersBelongToTheirPictures(t *testing.T) {
	s, _ := newTiny(t, Config{MaxBatch: 5, MaxDelay: time.Millisecond}, nil)
	var want [8]float32
	var files [8][]byte
	for i := range want {
		p := expected(t, s, picture(i))
		want[i], files[i] = p.Probs[p.Best(1)[0]], pngOf(t, picture(i))
	}
	var wg sync.WaitGroup
	wrong := atomic.Int32{}
	for i := range want {
		wg.Go(func() {
			for range 30 {
				var a Answer
				if code, err := ask(s, "POST", "/classify", files[i], &a); err != nil || code != 200 || a.Top[0].Prob != want[i] {
					wrong.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, wrong.Load())
}

// checkAnswer: whatever the body, the answer is JSON and not the server's fault.
func checkAnswer(t *testing.T, s *Server, path string, body []byte) {
	var a inferAnswer
	code, err := ask(s, "POST", path, body, &a)
	if err != nil || code >= 500 || code != 200 && a.Error == "" {
		t.Fatalf("%s %q: status %d, %v, %q", path, body, code, err, a.Error)
	}
}

func FuzzInfer(f *testing.F) {
	s, _ := newTiny(f, Config{MaxBody: 1 << 16, MaxPixels: 1 << 16}, nil)
	f.Add([]byte(`{"id":"7","inputs":[{"name":"pixels","datatype":"FP32","shape":[1,3,8,8],"data":[` + strings.Repeat("[1,2.5],", 95) + `[3,4]]}],"outputs":[{"name":"logits"}]}`))
	f.Add([]byte(`{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":["` + base64.StdEncoding.EncodeToString(pngOf(f, picture(1))) + `"]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) { checkAnswer(t, s, "/v2/models/tiny/infer", body) })
}

func FuzzClassify(f *testing.F) {
	s, _ := newTiny(f, Config{MaxBody: 1 << 16, MaxPixels: 1 << 16}, nil)
	f.Add(pngOf(f, picture(1)))
	f.Add([]byte("P6 2 2 255 123456789012"))
	f.Add([]byte("GIF89a"))
	f.Fuzz(func(t *testing.T, body []byte) { checkAnswer(t, s, "/classify?explain=1", body) })
}

// Requests that wait hold the small picture that the network takes and not the one
// that was sent, which may have a thousand times its bytes.
func TestWaitingRequestsHoldSmallPictures(t *testing.T) {
	held := make(chan struct{})
	s, _ := newTiny(t, Config{MaxBatch: 1}, func(*loader.Batch) error { <-held; return nil })
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	const side, requests = 2000, 8
	body := pngOf(t, image.NewRGBA(image.Rect(0, 0, side, side)))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var answered sync.WaitGroup
	for range requests {
		answered.Go(func() {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("POST", "/classify?explain=1", bytes.NewReader(body)))
			assert.Equal(t, http.StatusOK, w.Code, w.Body)
		})
	}
	require.Eventually(t, func() bool { return s.batches.waiting.Load() == requests-1 }, 20*time.Second, time.Millisecond)
	runtime.GC() // pools are emptied by the second collection
	require.Less(t, heap(), before+2*4*side*side)
	release()
	answered.Wait()
}
