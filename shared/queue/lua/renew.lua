-- Purpose: keep the leases of everything that a worker holds, and its presence record.
-- Guarantee: a lease is extended only for the claim that holds it; never for one that was taken away.
-- KEYS: 1 the worker's presence (string)
-- ARGV: 1 worker, 2 presence JSON, 3 lease ms, 4… id, number, claim of each held request
-- Returns: {verdict, …} in that order; each 'kept', 'cancel' (kept, but to be stopped) or 'lost'
though_full()
skip_silence()
local until_ms, verdicts = NOW + ARGV[3], {}
for i = 4, #ARGV, 3 do
  local id = ARGV[i]
  local f = control(id)
  local verdict = 'lost'
  if holds(f, ARGV[i + 1], ARGV[i + 2]) then
    redis.call('ZADD', K.leases, until_ms, id)
    verdict = f.cancel_requested and 'cancel' or 'kept'
  end
  verdicts[#verdicts + 1] = verdict
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', K.workers, until_ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', K.workers, '-inf', NOW)
return verdicts
