package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what GET /metrics tells.
type metrics struct {
	registry      *prometheus.Registry
	requests      *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	batch         prometheus.Histogram
	device        prometheus.Histogram
	waited        prometheus.Histogram
	queue, flight prometheus.GaugeFunc
}

func newMetrics(s *Server) *metrics {
	times := prometheus.ExponentialBuckets(0.0005, 2, 16) // 0.5 ms to 16 s
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vkalexnet_requests_total", Help: "Requests answered."}, []string{"route", "code"}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vkalexnet_request_seconds", Help: "Time from a request's headers to its answer.", Buckets: times}, []string{"route"}),
		batch:    histogram("vkalexnet_batch_pictures", "Pictures in a batch.", prometheus.ExponentialBuckets(1, 2, 10)),
		device:   histogram("vkalexnet_batch_seconds", "Time of a batch on the device.", times),
		waited:   histogram("vkalexnet_queue_seconds", "Time of a picture in the queue.", times),
		queue: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vkalexnet_queue_pictures", Help: "Pictures that wait for a batch."},
			func() float64 { return float64(s.batches.waiting.Load()) }),
		flight: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vkalexnet_requests_under_way", Help: "Requests with a body that are not answered yet."},
			func() float64 { return float64(len(s.requests)) }),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.batch, m.device, m.waited, m.queue, m.flight,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
