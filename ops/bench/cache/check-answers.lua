-- wrk -s check-answers.lua URL -- TARGET HOST BODY-FILE MUST-HIT PAUSE-MS
-- Compares every answer with the known body, and asks of X-Cache whether it came from the cache. The first wrong answer
-- ends the run. PAUSE-MS above 0 leaves a random pause around it before each request: a fixed moderate load.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  wrk.path = args[1]
  wrk.headers["Host"] = args[2]
  expected = assert(io.open(args[3], "rb")):read("*a")
  must_hit = args[4] == "true"
  local pause = tonumber(args[5])
  wrong = 0
  found = ""
  if pause > 0 then
    function delay()
      return math.random(0, 2 * pause)
    end
  end
end

local function refuse(text)
  wrong = wrong + 1
  if wrong == 1 then
    found = text
  end
  wrk.thread:stop()
end

function response(status, headers, body)
  if status ~= 200 then
    return refuse("status " .. status)
  end
  if body ~= expected then
    return refuse(#body .. " bytes that are not those of the object")
  end
  if must_hit then
    local cache = headers["X-Cache"] or headers["x-cache"] or "nothing"
    if cache:sub(1, 3) ~= "HIT" then
      refuse("X-Cache " .. cache)
    end
  end
end

function done(summary, latency)
  local bad, what = 0, ""
  for _, thread in ipairs(threads) do
    bad = bad + thread:get("wrong")
    what = what .. thread:get("found")
  end
  local errors = summary.errors
  local line = '{"requests":%d,"seconds":%.6f,"bytes":%.0f,"p50Ms":%.3f,"p99Ms":%.3f,'
    .. '"wrong":%d,"found":"%s","failed":%d}\n'
  io.write(line:format(
    summary.requests, summary.duration / 1e6, summary.bytes,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    bad, what:gsub('[^%w -]', "?"),
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
