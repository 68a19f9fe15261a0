-- POSTs one body again and again with a write key, and prints what came of it as one line of JSON.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_KEY")
wrk.headers["Content-Type"] = "application/json"

-- At a given rate whatever the answers take: each request has its moment, and one that is late does not put off the rest.
local per_second = tonumber(os.getenv("BENCH_PER_SECOND") or "0") -- of this thread
if per_second > 0 then
  local ffi = require("ffi")
  ffi.cdef("struct timeval { long sec, usec; }; int gettimeofday(struct timeval *, void *);")
  local clock, due = ffi.new("struct timeval"), 0
  function delay()
    ffi.C.gettimeofday(clock, nil)
    local now = tonumber(clock.sec) + tonumber(clock.usec) / 1e6
    due = (due == 0 and now or due) + 1 / per_second
    return math.max(0, math.floor((due - now) * 1e3 + 0.5))
  end
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"non_2xx":%d,"broken":%d,"late":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    failed.status, failed.connect + failed.read + failed.write, failed.timeout))
end
