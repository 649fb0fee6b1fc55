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

local function waiting()
  return redis.call('ZCARD', K.queue) + redis.call('ZCARD', K.delayed) + parked()
end

local function queued_of(tenant)
  return redis.call('ZCARD', K.tenant .. '0:' .. tenant) + redis.call('ZCARD', K.tenant .. '1:' .. tenant)
end

-- Whether as many of a tenant are queued as may be. What somebody deleted does not count: nobody claims that, so it
-- comes to the front.
local function is_crowded(tenant, most)
  for lane = 0, queued_of(tenant) >= most and 1 or -1 do
    local key = K.tenant .. lane .. ':' .. tenant
    for _, id in ipairs(redis.call('ZRANGE', key, 0, 99)) do
      if redis.call('EXISTS', K.request .. id) == 0 then
        redis.call('ZREM', key, id)
      end
    end
  end
  return queued_of(tenant) >= most
end
