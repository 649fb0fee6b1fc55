-- Purpose: remember a picture whose request is about to be submitted; one that never is leaves it to be deleted.
-- KEYS: 1 the file index (zset)
-- ARGV: 1 file key
-- Returns: 1
redis.call('ZADD', KEYS[1], NOW + HELD_TTL_S * 1000, ARGV[1])
return 1
