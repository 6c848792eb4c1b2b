// One S3 operation over and over with minio-go, the client library of warp, as `benchmarks.clients` does it with others.
//
//	minio_go get|put SIZE CONNECTIONS SECONDS PORT BUCKET KEY
//
// Prints operations, CPU seconds (user + system), seconds, p50 and p99 in nanoseconds, and peak resident memory in KiB.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const warmUp = 150 * time.Millisecond

// Operations that are measured at least, however slow the machine is just now, unless that takes too long.
const fewest, longest = 32, 10 * time.Second

func die(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	die(err)
	return value
}

func cpu() float64 {
	var used syscall.Rusage
	die(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return float64((used.Utime.Sec+used.Stime.Sec)*1e6+used.Utime.Usec+used.Stime.Usec) / 1e6
}

// Of this program alone: what getrusage says is that of its parent if that was larger.
func peakKiB() int {
	status, err := os.ReadFile("/proc/self/status")
	die(err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	return number(strings.Fields(rest)[0])
}

func main() {
	if len(os.Args) != 8 {
		os.Exit(2)
	}
	op, size, connections, port := os.Args[1], number(os.Args[2]), number(os.Args[3]), os.Args[5]
	seconds, err := strconv.ParseFloat(os.Args[4], 64)
	die(err)
	bucket, key := os.Args[6], os.Args[7]
	// One thread of Go code, as one worker of ours has: more of them cost more CPU for the same work.
	runtime.GOMAXPROCS(1)
	transport, err := minio.DefaultTransport(false)
	die(err)
	transport.MaxIdleConnsPerHost = connections
	client, err := minio.New("127.0.0.1:"+port, &minio.Options{
		Creds:     credentials.NewStaticV4(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
		Region:    "us-east-1",
		Transport: transport,
	})
	die(err)
	data := make([]byte, size)
	_, err = rand.Read(data)
	die(err)
	ctx := context.Background()
	get := func() error {
		object, err := client.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer object.Close()
		moved, err := io.Copy(io.Discard, object)
		if err == nil && moved != int64(size) {
			err = fmt.Errorf("%d bytes came instead of %d", moved, size)
		}
		return err
	}
	put := func() error {
		options := minio.PutObjectOptions{DisableContentSha256: true, DisableMultipart: true}
		_, err := client.PutObject(ctx, bucket, key, bytes.NewReader(data), int64(size), options)
		return err
	}
	call := get
	if op == "put" {
		call = put
	}
	var stop, counting atomic.Bool
	var done atomic.Int64
	latencies := make([][]int64, connections)
	var group sync.WaitGroup
	for i := range latencies {
		group.Add(1)
		go func() {
			defer group.Done()
			for !stop.Load() {
				begin, counted := time.Now(), counting.Load()
				die(call())
				if counted {
					latencies[i] = append(latencies[i], time.Since(begin).Nanoseconds())
					done.Add(1)
				}
			}
		}()
	}
	time.Sleep(warmUp)
	begin := time.Now()
	before := cpu()
	counting.Store(true)
	for {
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		if done.Load() >= fewest || time.Since(begin) > longest {
			break
		}
	}
	after := cpu()
	wall := time.Since(begin)
	stop.Store(true)
	group.Wait()
	var all []int64
	for _, each := range latencies {
		all = append(all, each...)
	}
	if len(all) < 2 {
		die(fmt.Errorf("too few operations were completed"))
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	fmt.Println(len(all), after-before, wall.Seconds(), all[len(all)/2], all[len(all)*99/100], peakKiB())
}
