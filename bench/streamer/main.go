// A server that answers each POST with a stream of events at a steady pace, the last of which is the answer, and
// GET with how many events it has sent so far.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	progress = `event: message
data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":%d,` +
		`"message":"still looking through the jobs that match what was asked for"}}

`
	answer = `event: message
data: {"jsonrpc":"2.0","id":42,"result":{"content":[{"type":"text","text":"done"}],"isError":false}}

`
)

func main() {
	port := flag.Int("port", 0, "port to listen on, on loopback")
	events := flag.Int("events", 50, "events of a stream")
	gap := flag.Duration("gap", 5*time.Millisecond, "time between two events of a stream")
	flag.Parse()
	var sent atomic.Int64
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			fmt.Fprintln(w, sent.Load())
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
		flusher := w.(http.Flusher)
		ticker := time.NewTicker(*gap)
		defer ticker.Stop()
		for i := 1; i < *events; i++ {
			fmt.Fprintf(w, progress, i)
			flusher.Flush()
			sent.Add(1)
			select {
			case <-ticker.C:
			case <-r.Context().Done():
				return
			}
		}
		io.WriteString(w, answer)
		sent.Add(1)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+strconv.Itoa(*port), http.HandlerFunc(handler)))
}
