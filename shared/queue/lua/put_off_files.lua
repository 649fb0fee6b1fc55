-- Purpose: try files again later that could not be deleted.
-- Guarantee: a file that was forgotten meanwhile stays so, and one that was promised for longer keeps its time.
-- KEYS: 1 the file index (zset)
-- ARGV: 1 ms from now, 2… file keys
-- Returns: how many were put off
though_full()
local put_off = 0
for i = 2, #ARGV do
  put_off = put_off + redis.call('ZADD', KEYS[1], 'XX', 'GT', 'CH', NOW + ARGV[1], ARGV[i])
end
return put_off
