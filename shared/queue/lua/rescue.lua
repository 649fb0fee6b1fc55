-- Purpose: bring back what a dead worker held, start due retries, ring for doorbells that were lost.
-- Guarantee: an expired lease ends the attempt; the request returns to its old place, or fails after `crashes` such
--   ends, or is cancelled if that had been asked for. Any number of processes may run this at once.
-- KEYS: none known before
-- ARGV: 1 limit, 2 crashes, 3 outcome of a lost worker, 4 outcome of a cancellation, 5 retention s
-- Returns: {requeued, failed, cancelled, rung}
local requeued, failed, cancelled, rung = 0, 0, 0, 0

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.leases, '-inf', NOW, 'LIMIT', 0, ARGV[1])) do
  local f = control(id)
  local crashes = f and redis.call('HINCRBY', K.request .. id, 'crashes', 1)
  redis.call('HDEL', K.request .. id, 'claim')
  if not f then
    drop(id)
  elseif f.cancel_requested then
    conclude(id, f, cjson.decode(ARGV[4]), ARGV[5])
    cancelled = cancelled + 1
  elseif crashes >= tonumber(ARGV[2]) or f.retry == '0' or tonumber(f.attempts) >= MAX_ATTEMPTS then
    conclude(id, f, cjson.decode(ARGV[3]), ARGV[5])
    failed = failed + 1
  else
    requeue(id, f)
    requeued = requeued + 1
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.delayed, '-inf', NOW, 'LIMIT', 0, ARGV[1])) do
  local place = redis.call('HGET', K.request .. id, 'place')
  redis.call('ZREM', K.delayed, id)
  if place then
    redis.call('ZADD', K.queue, place, id)
  end
end

local queued = math.min(CAP, redis.call('ZCARD', K.queue))
while redis.call('LLEN', K.doorbell) < queued do
  ring(queued)
  rung = rung + 1
end
return {requeued, failed, cancelled, rung}
