-- Shared by every verb: the places of requests, fair to all tenants.
-- Start-time fair queueing inside a lane. V is the tag of the last claimed request, F a tenant's finish tag: a request
-- starts at max(V, F) and moves F by its cost. Tags are integers below 2^52; place = lane * 2^52 + tag.

local function virtual(lane)
  return tonumber(redis.call('GET', K.virtual .. lane) or 0)
end

local function siblings(f)
  return K.tenant .. f.lane .. ':' .. f.tenant
end

-- The place of a new request. It starts when its tenant's last one ends, whatever cancelled ones gave back.
local function draw_place(f)
  local base = f.lane * LANE_SPAN
  local tag = math.max(virtual(f.lane), tonumber(redis.call('ZSCORE', K.finish .. f.lane, f.tenant) or 0))
  local last = redis.call('ZREVRANGE', siblings(f), 0, 0, 'WITHSCORES')
  if last[1] then
    tag = math.max(tag, last[2] - base + (redis.call('HGET', K.request .. last[1], 'cost') or 1))
  end
  redis.call('ZADD', K.finish .. f.lane, tag + f.cost, f.tenant)
  return base + tag
end

-- A request that goes without ever having been claimed cost nothing: its tenant's F moves back, never below V.
local function give_back(f)
  local finish = redis.call('ZSCORE', K.finish .. f.lane, f.tenant)
  if finish and f.number == '0' then
    redis.call('ZADD', K.finish .. f.lane, math.max(virtual(f.lane), finish - f.cost), f.tenant)
  end
end
