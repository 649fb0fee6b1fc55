-- Purpose: record how the delivery of a webhook went.
-- Guarantee: what a receiver has taken is done, whichever attempt says so; else only the latest one is heard, and none
--   once it is settled. After the last one the request's own life counts again, for it and for a result that is a file.
-- KEYS: 1 the request (hash)
-- ARGV: 1 id, 2 attempt, 3 ms until the next attempt or '', 4 whether it was delivered (1 or 0)
-- Returns: 1 if recorded, 0 if ignored
though_full()
local latest = redis.call('HGET', KEYS[1], 'webhook_attempt')
local is_heard = latest and (latest == ARGV[2] or ARGV[4] == '1')
if not is_heard or not redis.call('ZSCORE', K.webhooks, ARGV[1]) then
  return 0
end
if ARGV[4] == '0' and ARGV[3] ~= '' then
  redis.call('ZADD', K.webhooks, 'XX', NOW + ARGV[3], ARGV[1])
else
  redis.call('ZREM', K.webhooks, ARGV[1])
  redis.call('HSET', KEYS[1], 'webhook_delivered', ARGV[4])
  local expires, body_key = unpack(redis.call('HMGET', KEYS[1], 'expires', 'body_key'))
  if expires then
    keep_body(body_key, expires)
    redis.call('PEXPIREAT', K.events .. ARGV[1], expires)
    redis.call('PEXPIREAT', KEYS[1], expires)
  end
end
return 1
