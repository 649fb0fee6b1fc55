-- Purpose: give a worker the best queued request, if it fits.
-- Guarantee: never skips the head of the queue for one behind it, unless its tenant already runs as many as it may, the
--   worker takes no more of it now, or it crashed a worker and another is nearer to have room for it; beside one that
--   did, no more are given than it may have as company. A request whose time is up fails instead of being handed out.
--   While more are queued and no ring is waiting it rings once more, so that idle threads wake in a chain.
--   A claim id gets one attempt: asked again because an answer was lost, it gets the same, or nothing once it is over.
-- KEYS: none known before
-- ARGV: 1 worker, 2 claim id, 3 budget px, 4 lease ms, 5 retention s, 6 outcome of a passed start timeout,
--   7 outcome of a passed total timeout, 8… tenants of whom the worker takes no more now
-- Returns: nil, or {id, number, lease until ms, ms left of the total timeout or nil, tenant, input, image_key, base,
--   cost_px, file_ttl_s, keep_io}

though_full()
local INPUT = {'tenant', 'input', 'image_key', 'base', 'cost_px', 'file_ttl_s', 'keep_io'}

local function attempt(id, f)
  local until_ms = tonumber(redis.call('ZSCORE', K.leases, id) or NOW)
  local left = f.finish_by and f.finish_by - NOW
  return {id, tonumber(f.number), until_ms, left, unpack(redis.call('HMGET', K.request .. id, unpack(INPUT)))}
end

local known = redis.call('GET', K.claim .. ARGV[2])
if known then
  local f = control(known)
  return holds(f, f and f.number, ARGV[2]) and attempt(known, f) or nil
end
local avoided = {}
for i = 8, #ARGV do
  avoided[ARGV[i]] = true
end
local id, f = head(ARGV[6], ARGV[7], ARGV[5], avoided, ARGV[1])
if not id or tonumber(f.cost_px) > tonumber(ARGV[3]) then
  return nil
end
skip_silence()
local key, tag = K.request .. id, math.max(virtual(f.lane), f.place - f.lane * LANE_SPAN)
leave(id, f)
redis.call('SET', K.virtual .. f.lane, tag)
redis.call('ZREMRANGEBYSCORE', K.finish .. f.lane, '-inf', tag)
redis.call('HINCRBY', key, 'attempts', 1)
f.number = redis.call('HINCRBY', key, 'number', 1)
redis.call('HSET', key, 'state', 'running', 'claim', ARGV[2], 'worker', ARGV[1], 'started', NOW)
redis.call('ZADD', K.leases, NOW + ARGV[4], id)
come(id, f, ARGV[1])
redis.call('SET', K.claim .. ARGV[2], id, 'PX', ARGV[4])
say(id, 'running')
if redis.call('ZCARD', K.queue) > 0 then
  ring(1)
end
return attempt(id, f)
