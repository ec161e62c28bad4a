package server

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	loadURL     = flag.String("load-url", "", "address of a running server, as http://127.0.0.1:8080")
	loadPID     = flag.Int("load-pid", 0, "its process, whose memory is watched")
	loadPicture = flag.String("load-picture", "", "picture to send")
	loadClients = flag.String("load-clients", "1,8,64,64,8,1", "numbers of clients, one after the other; the second half shows what memory does")
	loadTime    = flag.Duration("load-time", 15*time.Second, "time at each number of clients")
)

// TestLoad sends pictures to a running server from 1, 8 and 64 clients on kept
// connections, and prints what they saw (`make serve-load`).
func TestLoad(t *testing.T) {
	if *loadURL == "" {
		t.Skip("needs a running server: make serve-load")
	}
	file, err := os.ReadFile(*loadPicture)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var first Answer
	require.NoError(t, post(client, file, &first)) // and the device is warm
	fmt.Printf("picture %d bytes, %v at each number of clients, model %s\n\n", len(file), *loadTime, first.Model)
	fmt.Println("clients  requests  failed  requests/s  p50 ms  p90 ms  p99 ms  max ms  server RSS MiB")
	for word := range strings.SplitSeq(*loadClients, ",") {
		clients, err := strconv.Atoi(word)
		require.NoError(t, err)
		all, failed := load(client, file, clients, first)
		slices.Sort(all)
		at := func(share float64) float64 {
			return 1000 * all[min(len(all)-1, int(share*float64(len(all))))].Seconds()
		}
		fmt.Printf("%7d  %8d  %6d  %10.1f  %6.1f  %6.1f  %6.1f  %6.1f  %14s\n", clients, len(all), failed, float64(len(all))/loadTime.Seconds(), at(.5), at(.9), at(.99), at(1), residentMiB(*loadPID))
		require.Zero(t, failed)
	}
}

// load runs clients for a while; every answer must be the first one's, but for
// the order of sums, which depends on the size of a batch.
func load(client *http.Client, file []byte, clients int, want Answer) (all []time.Duration, failed int) {
	ctx, cancel := context.WithTimeout(context.Background(), *loadTime)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				var a Answer
				err := post(client, file, &a)
				took := time.Since(began)
				mu.Lock()
				if all = append(all, took); err != nil || a.Top[0].Class != want.Top[0].Class || math.Abs(float64(a.Top[0].Prob-want.Top[0].Prob)) > 1e-5 {
					failed++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all, failed
}

func post(client *http.Client, file []byte, a *Answer) error {
	res, err := client.Post(*loadURL+"/classify", "application/octet-stream", bytes.NewReader(file))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d, %w: %.200s", res.StatusCode, err, body)
	}
	return json.Unmarshal(body, a)
}

// residentMiB is a process's memory, as /proc tells it.
func residentMiB(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "?"
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	if err != nil {
		return "?"
	}
	return fmt.Sprintf("%.1f", float64(kib)/1024)
}
