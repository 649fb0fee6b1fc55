-- Purpose: strike a request off the quarantine.
-- Guarantee: its outcome stays; what its owner asks about it is answered as before.
-- KEYS: 1 the quarantine (zset), 2 the request (hash)
-- ARGV: 1 id, 2 whether its input and picture go, too (1 or 0)
-- Returns: 1 if it was there, else 0
local was_there = redis.call('ZREM', KEYS[1], ARGV[1])
if was_there == 1 and ARGV[2] == '1' then
  local image = redis.call('HGET', KEYS[2], 'image_key')
  redis.call('HDEL', KEYS[2], 'input')
  if image and string.find(image, ARGV[1], 1, true) then -- its own: another's file has a life of its own
    redis.call('ZADD', K.files, 'XX', NOW, image)
  end
end
return was_there
