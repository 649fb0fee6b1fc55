-- Purpose: the keys that were made at run time, for whoever has an older version of them.
-- Guarantee: reads only.
-- KEYS: 1 the keys (hash), 2 their version (string)
-- ARGV: 1 the version that the caller has, or ''
-- Returns: {now ms, version}, and where that is another: {key id, JSON, …}
local version = redis.call('GET', KEYS[2]) or '0'
if version == ARGV[1] then
  return {NOW, version}
end
return {NOW, version, redis.call('HGETALL', KEYS[1])}
