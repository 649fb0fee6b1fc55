-- Shared by every verb: how many wait, and before whom.

-- How many queued requests go before this one; one that waits for its retry keeps its place. What is parked is in the
-- way of its own tenant's only.
local function position(id, place, tenant)
  local before = '(' .. place
  local ahead = redis.call('ZRANK', K.queue, id) or redis.call('ZCOUNT', K.queue, '-inf', before)
  return ahead + redis.call('ZCOUNT', K.parked .. tenant, '-inf', before)
end

-- How many are parked, of all tenants.
local function parked()
  local count = 0
  for _, tenant in ipairs(redis.call('SMEMBERS', K.parking)) do
    count = count + redis.call('ZCARD', K.parked .. tenant)
  end
  return count
end

local function queued_of(tenant)
  return redis.call('ZCARD', K.tenant .. '0:' .. tenant) + redis.call('ZCARD', K.tenant .. '1:' .. tenant)
end
