-- Purpose: agree on one file store.
-- Guarantee: the first id stays in force.
-- KEYS: 1 the id of the store (string)
-- ARGV: 1 the caller's store id
-- Returns: the id in force
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
