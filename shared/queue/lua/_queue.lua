-- Shared by every verb: into the queue and out of it.

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
  for _, index in ipairs({K.queue, K.delayed, K.deadlines, K.leases}) do
    redis.call('ZREM', index, id)
  end
end
