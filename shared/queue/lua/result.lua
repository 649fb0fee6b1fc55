-- Purpose: what a result answer needs.
-- Guarantee: reads only.
-- KEYS: 1 the request (hash)
-- ARGV: none
-- Returns: {state or nil, tenant, status, body, body_key, error_type, start_timed_out}
return redis.call('HMGET', KEYS[1], 'state', 'tenant', 'status', 'body', 'body_key', 'error_type', 'start_timed_out')
