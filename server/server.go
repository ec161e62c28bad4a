// Package server answers questions about pictures over HTTP: the routes of the
// Open Inference Protocol (V2, REST), POST /classify with a picture, metrics
// for Prometheus, and a page for people. Pictures of different requests are run
// together, in batches, by one executor.
package server

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"vkalexnet/alexnet"
)

// Config is a network that is served, with its limits. Numbers that are 0 are
// those of [Config.WithDefaults].
type Config struct {
	Net *alexnet.Network
	// Exec runs Net in batches of up to MaxBatch, short ones best in less time
	// ([alexnet.ExecOptions].ShortBatches); only the server uses it. With an
	// [alexnet.Inspector] there are heat maps.
	Exec alexnet.Executor
	// Name is the model's name in the protocol's routes (default: the network's).
	Name string
	// Version is the program's, told by GET /v2 ("unknown").
	Version string
	// MaxBatch is the number of pictures in a batch (16), MaxDelay how long one
	// picture waits for others to share its batch.
	MaxBatch int
	MaxDelay time.Duration
	// MaxQueue bounds the pictures that wait and the requests under way (256):
	// what comes beyond that is refused with status 429.
	MaxQueue int
	// MaxBody bounds a request's body in bytes (32 MiB), MaxPixels the width
	// times height that a picture may have (50 million).
	MaxBody   int64
	MaxPixels int
	// Timeout bounds the time of a request, from its first byte to its answer (30 s).
	Timeout time.Duration
}

// WithDefaults fills in what is 0, except MaxDelay, whose 0 means not to wait.
func (c Config) WithDefaults() Config {
	if c.Name == "" {
		c.Name = c.Net.Name
	}
	c.Version = cmp.Or(c.Version, "unknown")
	fill(&c.MaxBatch, 16)
	fill(&c.MaxQueue, 256)
	fill(&c.MaxBody, 32<<20)
	fill(&c.MaxPixels, 50_000_000)
	fill(&c.Timeout, 30*time.Second)
	return c
}

func fill[T int | int64 | time.Duration](value *T, standard T) {
	if *value == 0 {
		*value = standard
	}
}

// check says what of a configuration cannot be meant.
func (c Config) check() error {
	switch {
	case c.MaxBatch < 1, c.MaxQueue < 1, c.MaxBody < 1, c.MaxPixels < 1, c.Timeout < 0, c.MaxDelay < 0:
		return fmt.Errorf("serve: batch %d, queue %d, body %d bytes, %d pixels, timeout %v, delay %v: none may be negative", c.MaxBatch, c.MaxQueue, c.MaxBody, c.MaxPixels, c.Timeout, c.MaxDelay)
	case c.MaxQueue < c.MaxBatch:
		return fmt.Errorf("serve: a queue of %d pictures never fills a batch of %d: make it at least as large", c.MaxQueue, c.MaxBatch)
	}
	return nil
}

// Server is an http.Handler for one network.
type Server struct {
	config   Config
	mux      *http.ServeMux
	batches  *batcher
	metrics  *metrics
	requests chan struct{} // one for each request under way
	decoders chan struct{} // one for each picture that is being decoded
}

//go:embed page
var page embed.FS

// New starts a server's batches; Close ends them.
func New(config Config) (*Server, error) {
	config = config.WithDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	if err := config.Net.Input.Check(); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	s := &Server{config: config, mux: http.NewServeMux(), requests: make(chan struct{}, config.MaxQueue), decoders: make(chan struct{}, runtime.GOMAXPROCS(0))}
	s.metrics = newMetrics(s)
	s.batches = newBatcher(config, s.metrics)
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	serveFile := withPolicy(http.FileServerFS(files))
	for _, name := range []string{"{$}", "app.js", "style.css"} {
		s.mux.Handle("GET /"+name, serveFile)
	}
	s.handle(elsewhere, s.noRoute)
	s.mux.Handle("GET /metrics", s.metrics.handler())
	s.handle("POST /classify", s.classify)
	s.handle("GET /model", s.about)
	s.handle("GET /v2", s.serverMetadata)
	s.handle("GET /v2/health/live", s.live)
	s.handle("GET /v2/health/ready", s.ready)
	for _, model := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		s.handle("GET "+model, s.modelMetadata)
		s.handle("GET "+model+"/ready", s.modelReady)
		s.handle("POST "+model+"/infer", s.infer)
	}
	return s, nil
}

// elsewhere is the route of what no other route takes.
const elsewhere = "/"

// noRoute answers what no other route takes, and says so when the method is all that is wrong.
func (s *Server) noRoute(r *http.Request) (any, error) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != elsewhere {
			return nil, wrongMethod{method, failf(http.StatusMethodNotAllowed, "%.20s %.80s: this route takes %s", r.Method, r.URL.Path, method)}
		}
	}
	return nil, failf(http.StatusNotFound, "nothing at %.80s: there are / (a page), POST /classify, /v2 and /metrics", r.URL.Path)
}

// withPolicy keeps the page from loading anything from elsewhere.
func withPolicy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close ends the batches: pictures that still wait get an error.
func (s *Server) Close() { s.batches.close() }

// Serve answers requests until ctx is cancelled; it then takes no new ones,
// answers those under way, for up to the timeout of a request, and returns nil.
// When the device is lost it ends in the same way with the device's error.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       s.config.Timeout,
		WriteTimeout:      2 * s.config.Timeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	done := make(chan error, 1)
	go func() { done <- h.Serve(listener) }()
	var lost error
	select {
	case err := <-done:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	case <-s.batches.lost:
		lost = s.batches.failure()
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*s.config.Timeout)
	defer cancel()
	if err := h.Shutdown(stopping); err != nil {
		return errors.Join(lost, fmt.Errorf("answer the requests under way: %w", err), h.Close())
	}
	return lost
}

// handler answers a request with a value, which becomes JSON, or an error.
type handler func(r *http.Request) (any, error)

// failure is an error with the status of its answer.
type failure struct {
	status int
	error
}

func (f failure) Unwrap() error { return f.error }

// wrongMethod is the failure of a route that takes another method.
type wrongMethod struct {
	allowed string
	error
}

func (m wrongMethod) Unwrap() error { return m.error }

func failf(status int, format string, args ...any) error {
	return failure{status, fmt.Errorf(format, args...)}
}

var errBusy = failf(http.StatusTooManyRequests, "the queue is full: try again in a moment")

// handle adds a route: its limits, its metrics, and the form of its answers.
func (s *Server) handle(route string, h handler) {
	s.mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		status := http.StatusOK
		defer func() { s.metrics.request(r.Pattern, status, time.Since(began)) }()
		ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
		defer cancel()
		answer, err := s.limited(h, w, r.WithContext(ctx))
		if err != nil {
			status = s.statusOf(err)
			if status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "1")
			}
			if m := (wrongMethod{}); errors.As(err, &m) {
				w.Header().Set("Allow", m.allowed)
			}
			answer = map[string]string{"error": err.Error()}
		}
		writeJSON(w, status, answer)
	})
}

// limited runs a handler that reads a body only if the server is not full.
func (s *Server) limited(h handler, w http.ResponseWriter, r *http.Request) (any, error) {
	if r.Method == http.MethodPost {
		select {
		case s.requests <- struct{}{}:
			defer func() { <-s.requests }()
		default:
			return nil, errBusy
		}
		r.Body = http.MaxBytesReader(w, r.Body, s.config.MaxBody)
	}
	return h(r)
}

// statusOf is the status that tells of an error.
func (s *Server) statusOf(err error) int {
	var f failure
	switch {
	case errors.As(err, &f):
		return f.status
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled): // nobody reads it
		return 499
	case errors.Is(err, alexnet.ErrDeviceLost), errors.Is(err, errClosed):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// number reads a number from the query; the standard stands where there is none.
func number(r *http.Request, name string, standard, low, high int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return standard, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < low || v > high {
		return 0, failf(http.StatusBadRequest, "%s=%.40q: it must be a number from %d to %d", name, text, low, high)
	}
	return v, nil
}
