-- Purpose: strike deleted files off the index.
-- KEYS: 1 the file index (zset)
-- ARGV: 1… file keys
-- Returns: how many were on it
local gone = 0
for _, file in ipairs(ARGV) do
  gone = gone + redis.call('ZREM', KEYS[1], file)
end
return gone
