-- Purpose: take the webhooks that are due.
-- Guarantee: nobody else gets one of them before the lease has ended; each taking counts as an attempt.
-- KEYS: none known before
-- ARGV: 1 limit, 2 lease ms
-- Returns: {{id, attempt, tenant, webhook, state, status, body, body_key, error}, …}
though_full()
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.webhooks, '-inf', NOW, 'LIMIT', 0, ARGV[1])) do
  local key = K.request .. id
  local f = redis.call('HMGET', key, 'tenant', 'webhook', 'state', 'status', 'body', 'body_key', 'error')
  if f[1] then
    redis.call('ZADD', K.webhooks, NOW + ARGV[2], id)
    taken[#taken + 1] = {id, redis.call('HINCRBY', key, 'webhook_attempt', 1), unpack(f, 1, 7)}
  else
    redis.call('ZREM', K.webhooks, id) -- past its retention: nothing is left to say
  end
end
return taken
