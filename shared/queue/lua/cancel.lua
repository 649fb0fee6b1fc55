-- Purpose: take a request back on behalf of its owner.
-- Guarantee: a queued request is cancelled here and never starts; a running one never succeeds after this.
-- KEYS: 1 the request (hash)
-- ARGV: 1 id, 2 tenant, 3 outcome of a cancellation, 4 retention s
-- Returns: 'cancelled', 'requested', 'completed' or 'unknown'
though_full()
local id = ARGV[1]
local f = control(id)
if not f or f.tenant ~= ARGV[2] then
  return 'unknown'
end
if f.state == 'queued' then
  conclude(id, f, cjson.decode(ARGV[3]), ARGV[4])
  return 'cancelled'
end
if f.state ~= 'running' then
  return 'completed'
end
if not f.cancel_requested then
  redis.call('HSET', KEYS[1], 'cancel_requested', 1)
  say(id, 'running', 'message', 'Cancellation requested', 'level', 'INFO')
end
redis.call('PUBLISH', K.cancel .. f.worker, id)
return 'requested'
