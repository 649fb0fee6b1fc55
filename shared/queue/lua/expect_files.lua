-- Purpose: remember when files are to be deleted.
-- KEYS: 1 the file index (zset)
-- ARGV: 1 at ms, 2… file keys
-- Returns: how many were not known before
local added = 0
for i = 2, #ARGV do
  added = added + redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i])
end
return added
