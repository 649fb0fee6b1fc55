-- Shared by every verb: who is where in the queue.
-- Start-time fair queueing inside a lane. V is the tag of the last claimed request, F a tenant's finish tag: a request
-- starts at max(V, F) and moves F by its cost. Tags are integers below 2^52; place = lane * 2^52 + tag.

local function virtual(lane)
  return tonumber(redis.call('GET', K.virtual .. lane) or 0)
end

local function siblings(f)
  return K.tenant .. f.lane .. ':' .. f.tenant
end

-- The place of a new request. It starts when its tenant's last one ends, whatever cancelled ones gave back.
local function draw_place(f)
  local base = f.lane * LANE_SPAN
  local tag = math.max(virtual(f.lane), tonumber(redis.call('ZSCORE', K.finish .. f.lane, f.tenant) or 0))
  local last = redis.call('ZREVRANGE', siblings(f), 0, 0, 'WITHSCORES')
  local cost = last[1] and redis.call('HGET', K.request .. last[1], 'cost') or 1
  tag = math.max(tag, last[1] and last[2] - base + cost or 0)
  redis.call('ZADD', K.finish .. f.lane, tag + f.cost, f.tenant)
  return base + tag
end

-- Into the queue, or with `due` (ms) first into the delayed. Needs f.place, which is kept for good.
local function join(id, f, due)
  redis.call('ZADD', siblings(f), f.place, id)
  redis.call('INCRBY', K.work, f.cost)
  local by = math.min(tonumber(f.start_by or math.huge), tonumber(f.finish_by or math.huge))
  if by < math.huge then
    redis.call('ZADD', K.deadlines, by, id)
  end
  if due then
    redis.call('ZADD', K.delayed, due, id)
  else
    make_ready(id, f)
    ring(CAP)
  end
end

local function leave(id, f)
  unready(id, f)
  redis.call('ZREM', K.delayed, id)
  redis.call('ZREM', K.deadlines, id)
  redis.call('ZREM', siblings(f), id)
  redis.call('ZREM', K.parked .. f.tenant, id)
  redis.call('DECRBY', K.work, f.cost)
end

-- An id without a request: an operator deleted it, or the server evicted it. It must not block those behind it.
local function drop(id)
  for _, index in ipairs({K.queue, K.delayed, K.deadlines, K.leases}) do redis.call('ZREM', index, id) end
end

-- A request that goes without ever having been claimed cost nothing: its tenant's F moves back, never below V.
local function give_back(f)
  local finish = redis.call('ZSCORE', K.finish .. f.lane, f.tenant)
  if finish and f.number == '0' then
    redis.call('ZADD', K.finish .. f.lane, math.max(virtual(f.lane), finish - f.cost), f.tenant)
  end
end
