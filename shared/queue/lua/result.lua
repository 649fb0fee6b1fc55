-- Purpose: what a result answer needs.
-- Guarantee: reads only. Past its own life a request is kept for its webhook only, and has no result for anybody else.
-- KEYS: 1 the request (hash)
-- ARGV: none
-- Returns: nil, or {state or nil, tenant, status, body, body_key, error_type, start_timed_out}
local expires = redis.call('HGET', KEYS[1], 'expires')
if expires and NOW >= tonumber(expires) then
  return nil
end
return redis.call('HMGET', KEYS[1], 'state', 'tenant', 'status', 'body', 'body_key', 'error_type', 'start_timed_out')
