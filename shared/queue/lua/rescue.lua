-- Purpose: bring back what a dead worker held, start due retries, ring for doorbells that were lost.
-- Guarantee: an expired lease ends the attempt. Where its worker is gone, too, that is a crash: the request returns to
--   its old place, or fails after MAX_CRASHES of them, or is cancelled if that had been asked for. A worker that is
--   there but does not renew has dropped it: back it goes as if released. No lease runs out while nobody looks.
--   Any number of processes may run this at once.
-- KEYS: none known before
-- ARGV: 1 limit, 2 outcome of a lost worker, 3 outcome of a cancellation, 4 retention s
-- Returns: {requeued, failed, cancelled, rung}
though_full()
local requeued, failed, cancelled, rung = 0, 0, 0, 0

skip_silence()

local function is_there(worker)
  return worker and tonumber(redis.call('ZSCORE', K.workers, worker) or 0) > NOW
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.leases, '-inf', NOW, 'LIMIT', 0, ARGV[1])) do
  local f = control(id)
  local dropped = f and is_there(f.worker)
  redis.call('HDEL', K.request .. id, 'claim')
  if not f then
    drop(id)
  elseif f.cancel_requested then
    conclude(id, f, cjson.decode(ARGV[3]), ARGV[4])
    cancelled = cancelled + 1
  elseif dropped then
    take_back(id, f)
    requeued = requeued + 1
  elseif crash(id, f, cjson.decode(ARGV[2]), ARGV[4]) == 'requeued' then
    requeued = requeued + 1
  else
    failed = failed + 1
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.delayed, '-inf', NOW, 'LIMIT', 0, ARGV[1])) do
  local f = control(id)
  redis.call('ZREM', K.delayed, id)
  if f then
    make_ready(id, f)
  end
end

redis.call('ZREMRANGEBYSCORE', K.quarantine, '-inf', NOW - ARGV[4] * 1000)
tidy()
local queued = math.min(CAP, redis.call('ZCARD', K.queue))
while redis.call('LLEN', K.doorbell) < queued do
  ring(queued)
  rung = rung + 1
end
return {requeued, failed, cancelled, rung}
