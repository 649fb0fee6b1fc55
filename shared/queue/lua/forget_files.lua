-- Purpose: strike deleted files off the index.
-- KEYS: 1 the file index (zset)
-- ARGV: 1 whether only those that are due (1 or 0): others were promised for longer meanwhile, 2… file keys
-- Returns: how many were struck off
local gone = 0
for i = 2, #ARGV do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if at and (ARGV[1] == '0' or tonumber(at) <= NOW) then
    gone = gone + redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return gone
