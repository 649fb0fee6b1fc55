-- Purpose: remember when files are to be deleted.
-- Guarantee: none sooner than was promised before.
-- KEYS: 1 the file index (zset)
-- ARGV: 1 at ms, 2 whether a full Redis is to remember them, too (1 or 0), 3… file keys
-- Returns: how many were not known before
if ARGV[2] == '1' then
  though_full()
end
local added = 0
for i = 3, #ARGV do
  added = added + redis.call('ZADD', KEYS[1], 'GT', ARGV[1], ARGV[i])
end
return added
