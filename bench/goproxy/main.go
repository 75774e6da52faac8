// A reverse proxy as one would write it in Go with its standard library: it decodes each body as JSON, so that it
// could judge it, and forwards the bytes it read. It judges nothing.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
)

const maxBodyBytes = 1 << 20

// message is what a gateway has to know of a call.
type message struct {
	Method string          `json:"method"`
	ID     json.RawMessage `json:"id"`
	Params struct {
		Name      string         `json:"name"`
		Arguments map[string]any `json:"arguments"`
	} `json:"params"`
}

// decoded passes on the requests whose body is a JSON-RPC message.
func decoded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				http.Error(w, "too large", http.StatusRequestEntityTooLarge)
				return
			}
			var m message
			if err != nil || json.Unmarshal(body, &m) != nil || m.Method == "" {
				http.Error(w, "not a message", http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			r.ContentLength = int64(len(body))
		}
		next.ServeHTTP(w, r)
	})
}

func main() {
	port := flag.Int("port", 0, "port to listen on, on loopback")
	upstream := flag.String("upstream", "", "URL of the server, without a path")
	flag.Parse()
	target, err := url.Parse(*upstream)
	if err != nil || target.Host == "" {
		log.Fatal("-upstream URL is needed")
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+strconv.Itoa(*port), decoded(proxy)))
}
