package main

import (
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/server"
)

func newServe() *cobra.Command {
	var f modelFlags
	var listen string
	var c server.Config
	var bodyMiB int64
	cmd := &cobra.Command{
		Use:   "serve --weights FILE",
		Short: "Classify pictures over HTTP, and on a page in the browser",
		Long: `Serves a network over HTTP until Ctrl-C or SIGTERM; requests under way are answered.

  GET  /                      a page: drop a picture, see classes and heat map
  POST /classify?k=5          the body is a picture, or a form with one; explain=1 adds a heat map,
                              class=N that of another class
  POST /v2/models/M/infer     Open Inference Protocol (V2, REST): input "image" (BYTES, pictures in
                              base64) or "pixels" (FP32 or UINT8 [n,3,H,W], RGB from 0 to 255)
  GET  /v2/models/M           what it takes and gives; /ready, /v2, /v2/health/live, /v2/health/ready
  GET  /metrics               for Prometheus

Pictures of different requests share batches. There is no password and no
encryption: on another address than this machine's own (--listen 0.0.0.0:8080),
put a proxy with both in front.`,
		Example: `  vkalexnet serve --weights runs/imagenet
  curl --data-binary @cat.jpg 'http://127.0.0.1:8080/classify?k=3'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := checkBatches("max-batch", c.MaxBatch); err != nil {
				return err
			}
			if c.MaxQueue < c.MaxBatch || bodyMiB < 1 || bodyMiB > 1<<20 || c.MaxPixels < 1 || c.Timeout <= 0 || c.MaxDelay < 0 {
				return usagef("--max-body, --max-pixels and --timeout must be at least 1, --max-delay not negative, and --max-queue at least --max-batch")
			}
			c.MaxBody = bodyMiB << 20
			return serve(cmd, &f, c, listen)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:8080", "address and port; port 0 takes a free one")
	flags.StringVar(&f.weights, "weights", "", weightsUsage)
	flags.StringVar(&f.model, "model", "", "preset or network's TOML file (default: the one that the weights name)")
	addDevice(cmd, &f.device)
	addPrecision(cmd, &f.precision)
	flags.StringVar(&c.Name, "name", "", "the model's name in the routes (default: the network's)")
	flags.IntVar(&c.MaxBatch, "max-batch", 16, "pictures in a batch at most")
	flags.DurationVar(&c.MaxDelay, "max-delay", 2*time.Millisecond, "how long a picture waits for others to share its batch")
	flags.IntVar(&c.MaxQueue, "max-queue", 256, "pictures that wait, and requests under way, at most; beyond that the answer is status 429")
	flags.Int64Var(&bodyMiB, "max-body", 32, "a request's body in MiB at most")
	flags.IntVar(&c.MaxPixels, "max-pixels", 50_000_000, "width times height of a picture at most")
	flags.DurationVar(&c.Timeout, "timeout", 30*time.Second, "time of a request at most")
	f.crops, f.batch, f.shortBatches = 1, 1, true
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
	return cmd
}

func serve(cmd *cobra.Command, f *modelFlags, c server.Config, listen string) error {
	if _, _, err := net.SplitHostPort(listen); err != nil {
		return usagef("--listen %s: %v; it is an address and a port, as 127.0.0.1:8080", listen, err)
	}
	network, file, err := f.network()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen) // before the device is taken
	if err != nil {
		return fmt.Errorf("serve: %w; --listen chooses another address", err)
	}
	defer listener.Close()
	o, err := f.open(cmd, network, file, c.MaxBatch)
	if err != nil {
		return err
	}
	defer o.close()
	c.Net, c.Exec, c.Version = network, o.exec, versionText()
	if err := alexnet.Prepare(o.exec); err != nil { // so that no request waits for it
		return fmt.Errorf("prepare batches of 1 to %d pictures: %w", c.MaxBatch, err)
	}
	s, err := server.New(c)
	if err != nil {
		return err
	}
	defer s.Close()
	if at, ok := listener.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() {
		warn(cmd, "WARNING: listening on %s, which other machines can reach. There is no password and no\n"+
			"         encryption: anyone who reaches it can use the device. --listen 127.0.0.1:8080 keeps it here.", at)
	}
	ctx, stop := interruptible(cmd, "answering the requests under way; Ctrl-C again stops at once")
	defer stop()
	warn(cmd, "serving %s, %d classes: http://%s/", c.WithDefaults().Name, network.NumClasses(), listener.Addr())
	return s.Serve(ctx, listener)
}
