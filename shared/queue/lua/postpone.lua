-- Purpose: give back a webhook that was taken, but not tried.
-- Guarantee: the taking does not count as an attempt. Ignored unless it speaks of the latest one.
-- KEYS: 1 the request (hash)
-- ARGV: 1 id, 2 attempt, 3 ms until it is due again
-- Returns: 1 if recorded, 0 if ignored
though_full()
if redis.call('HGET', KEYS[1], 'webhook_attempt') ~= ARGV[2] then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'webhook_attempt', -1)
redis.call('ZADD', K.webhooks, 'XX', NOW + ARGV[3], ARGV[1])
return 1
