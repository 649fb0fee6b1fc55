-- Purpose: the files whose time has come, oldest first.
-- Guarantee: reads only: a file stays due until forget_files.
-- KEYS: 1 the file index (zset)
-- ARGV: 1 limit
-- Returns: {file key, …}
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', NOW, 'LIMIT', 0, ARGV[1])
