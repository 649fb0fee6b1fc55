-- Purpose: the queue and its workers at one moment.
-- Guarantee: reads only; a worker whose presence has run out is not in it.
-- KEYS: none known before
-- ARGV: none
-- Returns: {now ms, queued, parked, running, step-megapixels queued, since when the head of a lane waits (ms) or nil,
--   {presence JSON, …}}
local workers, oldest = {}, false
for _, name in ipairs(redis.call('ZRANGE', K.workers, 0, -1)) do
  local presence = redis.call('GET', K.worker .. name)
  if presence then
    workers[#workers + 1] = presence
  end
end
for lane = 0, 1 do
  local id = redis.call('ZRANGEBYSCORE', K.queue, lane * LANE_SPAN, (lane + 1) * LANE_SPAN - 1, 'LIMIT', 0, 1)[1]
  local created = id and tonumber(redis.call('HGET', K.request .. id, 'created'))
  oldest = created and math.min(created, oldest or created) or oldest
end
local work = tonumber(redis.call('GET', K.work) or 0)
return {NOW, waiting(), parked(), redis.call('ZCARD', K.leases), work, oldest, workers}
