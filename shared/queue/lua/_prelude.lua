-- Shared by every verb: the clock, reading a request, its history, ringing.
-- K, DOORBELL, NUMBER and what else is in capitals are constants that scripts.py writes above this line.
-- Numbers go into commands as they are; `..` and tostring would cut them to 14 digits.

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local NOW = clock()

-- A full Redis refuses the first write of a script if that may need memory, and none after it. What keeps work alive,
-- or brings it to an end, begins with one that needs none.
local function though_full()
  redis.call('ZREM', K.leases, '')
end

-- What the transitions look at, as a table of strings (false where unset), or nil if there is no such request.
local CONTROL = {
  'state', 'tenant', 'lane', 'cost', 'place', 'number', 'attempts', 'crashes', 'claim', 'worker', 'cancel_requested',
  'retry', 'start_by', 'finish_by', 'webhook', 'keep_io', 'idempotency', 'cost_px', 'image_key', 'max_running',
}

local function control(id)
  local values = redis.call('HMGET', K.request .. id, unpack(CONTROL))
  if not values[1] then
    return nil
  end
  local f = {}
  for i, name in ipairs(CONTROL) do
    f[name] = values[i]
  end
  return f
end

-- Whether a worker's proof still holds: state, attempt number and claim id.
local function holds(f, number, claim)
  return f and f.state == 'running' and f.number == number and f.claim == claim
end

-- One entry of the history, and a poke for whoever listens.
local function say(id, state, ...)
  redis.call('XADD', K.events .. id, 'MAXLEN', '~', MAX_EVENTS, '*', 'state', state, ...)
  redis.call('PUBLISH', K.poke .. id, state)
end

-- Rings while the list holds fewer than `cap` rings.
local function ring(cap)
  if redis.call('LLEN', K.doorbell) < cap then
    local number = string.format('%012x', redis.call('INCR', K.rings))
    redis.call('LPUSH', K.doorbell, (string.gsub(DOORBELL, NUMBER, number)))
  end
end
