-- POSTs each line of a file in turn, and says in one line of JSON what came of it. Usage: … -- FILE
function init(args)
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["Accept"] = "application/json, text/event-stream"
    wrk.headers["User-Agent"] = "python-httpx/0.28.1"
    wrk.headers["MCP-Protocol-Version"] = "2025-06-18"
    local requests = {}
    for line in io.lines(args[1]) do
        wrk.body = line
        requests[#requests + 1] = wrk.format()
    end
    -- Without a function `request`, wrk sends its own over and over, which takes it less time.
    if #requests > 1 then
        local i = 0
        function request()
            i = i % #requests + 1
            return requests[i]
        end
    end
end

function done(summary, latency)
    local e = summary.errors
    print(string.format('{"requests": %d, "seconds": %f, "failed": %d, "p50_us": %d, "p99_us": %d}',
        summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
