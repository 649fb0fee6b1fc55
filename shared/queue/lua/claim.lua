-- Purpose: give a worker the best queued request, if it fits.
-- Guarantee: never skips the head of the queue for one behind it; a request whose time is up fails instead of being
--   handed out. While more are queued and no ring is waiting it rings once more, so that idle threads wake in a chain.
-- KEYS: none known before
-- ARGV: 1 worker, 2 claim id, 3 budget px, 4 lease ms, 5 retention s, 6 outcome of a passed start timeout,
--   7 outcome of a passed total timeout
-- Returns: nil, or {id, number, lease until ms, ms left of the total timeout or nil, tenant, input, image_key, base,
--   cost_px, file_ttl_s, keep_io}

-- The head of the queue that is still worth starting, or nil.
local function head()
  for _ = 1, 100 do
    local id = redis.call('ZRANGE', K.queue, 0, 0)[1]
    if not id then
      return nil
    end
    local f = control(id)
    local ended = f and overdue(f, ARGV[6], ARGV[7])
    if ended then
      conclude(id, f, ended, ARGV[5])
    elseif f then
      return id, f
    else
      drop(id)
    end
  end
  ring(1)
  return nil
end

local id, f = head()
if not id or tonumber(f.cost_px) > tonumber(ARGV[3]) then
  return nil
end
local key, until_ms, number = K.request .. id, NOW + ARGV[4], f.number + 1
local tag = math.max(virtual(f.lane), f.place - f.lane * LANE_SPAN)
leave(id, f)
redis.call('SET', K.virtual .. f.lane, tag)
redis.call('ZREMRANGEBYSCORE', K.finish .. f.lane, '-inf', tag)
redis.call('HINCRBY', key, 'attempts', 1)
redis.call('HSET', key, 'state', 'running', 'number', number, 'claim', ARGV[2], 'worker', ARGV[1], 'started', NOW)
redis.call('ZADD', K.leases, until_ms, id)
say(id, 'running')
if redis.call('ZCARD', K.queue) > 0 then
  ring(1)
end
local left = f.finish_by and f.finish_by - NOW
local attempt = redis.call('HMGET', key, 'tenant', 'input', 'image_key', 'base', 'cost_px', 'file_ttl_s', 'keep_io')
return {id, number, until_ms, left, unpack(attempt)}
