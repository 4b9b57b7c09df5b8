-- Sends each request of a file once and in order, and writes down what wrk measured.
-- LOAD_REQUESTS: for each request its length, a line feed, and its bytes.
-- LOAD_REPORT: where to write. LOAD_AGAIN: set if the file may be sent over and over.

local requests, is_verified = {}, false
taken, exhausted = 0, false -- global: `done` asks the thread for them
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = assert(io.open(os.getenv("LOAD_REQUESTS"), "rb"))
  while true do
    local length = file:read("*n")
    if length == nil then break end
    file:read(1)
    table.insert(requests, file:read(length))
  end
  file:close()
end

function request()
  if not is_verified then -- wrk asks once before it begins, and sends nothing
    is_verified = true
    return requests[1]
  end
  if taken == #requests and os.getenv("LOAD_AGAIN") == nil then
    exhausted = true
    wrk.thread:stop()
    return requests[1]
  end
  taken = taken + 1
  return requests[(taken - 1) % #requests + 1]
end

function done(summary, latency)
  local report = assert(io.open(os.getenv("LOAD_REPORT"), "w"))
  local errors = summary.errors
  local thread = threads[1]
  report:write(string.format("%d %d %d %d %d\n", summary.duration, summary.requests,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout, thread:get("taken")))
  report:write(tostring(thread:get("exhausted")), "\n")
  for i = 1, #latency do
    local microseconds, count = latency(i)
    report:write(string.format("%d %d\n", microseconds, count))
  end
  report:close()
end
