-- Purpose: a request's history after a given entry, oldest first.
-- Guarantee: reads only; an entry that was trimmed away is skipped over.
-- KEYS: 1 the history (stream)
-- ARGV: 1 the last entry that the reader has, or 0; 2 limit
-- Returns: {{entry id, {name, value, …}}, …}
return redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
