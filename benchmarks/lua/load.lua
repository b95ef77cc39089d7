-- The load that wrk sends. Arguments after `--`:
--   get|quorum|put  KEYS    cycle through that many keys; values of 100 bytes
-- The last line of the output is JSON; latencies in microseconds.

local VALUE = string.rep("v", 100)
local FORM = { ["Content-Type"] = "application/x-www-form-urlencoded" }
local threads = 0

function setup(thread)
   thread:set("id", threads)
   threads = threads + 1
end

local function key(number)
   return string.format("/v2/keys/bench/%02d/key-%09d", number % 100, number)
end

local requests = {}
local next_request = 0
local total = 0

function request()
   next_request = next_request % total + 1
   return requests[next_request]
end

function init(args)
   local kind = args[1]
   total = tonumber(args[2])
   -- each thread starts elsewhere, so that they do not write the same key at the same time
   next_request = math.floor(id * total / 4) % total
   for number = 1, total do
      if kind == "put" then
         requests[number] = wrk.format("PUT", key(number), FORM, "value=" .. VALUE)
      elseif kind == "quorum" then
         requests[number] = wrk.format("GET", key(number) .. "?quorum=true")
      else
         requests[number] = wrk.format("GET", key(number))
      end
   end
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
