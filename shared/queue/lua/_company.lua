-- Shared by every verb: how many requests a worker has in hand together.
-- What was in hand when a worker crashed is a suspect: the more often that was so, the fewer others there are beside
-- it, and none at last, before a crash can end it. So nothing is convicted of what another did.

-- How many may be in a worker's hands together with one, itself counted.
local function company(crashes)
  return tonumber(crashes) == 0 and math.huge or COMPANY[math.min(tonumber(crashes), #COMPANY)]
end

-- How many a worker has in hand, and how many it may have on account of these.
local function in_hand(worker)
  local worst = redis.call('ZREVRANGE', K.held .. worker, 0, 0, 'WITHSCORES')[2]
  return redis.call('ZCARD', K.held .. worker), worst and company(worst) or math.huge
end

-- Whether a worker with `count` in hand is the one that takes nothing more until there is room for a suspect: of those
-- that are there and do not drain, the one with the least in hand. The others go past it.
local function makes_room(worker, count)
  for _, other in ipairs(redis.call('ZRANGE', K.workers, 0, -1)) do
    local presence = redis.call('GET', K.worker .. other)
    local held = redis.call('ZCARD', K.held .. other)
    local is_nearer = held < count or (held == count and other < worker)
    if is_nearer and other ~= worker and presence and not cjson.decode(presence).draining then
      return false
    end
  end
  return true
end
