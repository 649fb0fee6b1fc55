-- Purpose: the newest preview of a running attempt.
-- Guarantee: reads only.
-- KEYS: 1 the request (hash)
-- ARGV: none
-- Returns: {step, URL}, each nil where there is no preview
return redis.call('HMGET', KEYS[1], 'preview_step', 'preview')
