-- Purpose: write what is known of one key.
-- Guarantee: refused where the keys have changed since the caller read them.
-- KEYS: 1 the keys (hash), 2 their version (string)
-- ARGV: 1 the version that the caller read, 2 key id, 3 JSON
-- Returns: 1 if written, else 0

though_full() -- or whoever filled Redis could not be shut out
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('INCR', KEYS[2])
return 1
