-- Shared by every verb: how many requests of one tenant may run at once.
-- A request whose tenant has no room when its turn comes is parked: still queued, at its place, but out of the others'
-- way. When one of the tenant's ends, as many go back into the queue as there is room for, the first ones first.

local function is_full(f)
  return f.max_running and redis.call('SCARD', K.running .. f.tenant) >= tonumber(f.max_running)
end

local function park(id, f)
  unready(id, f)
  redis.call('ZADD', K.parked .. f.tenant, f.place, id)
  redis.call('SADD', K.parking, f.tenant)
end

local function unpark(tenant, most)
  local parked, running = K.parked .. tenant, redis.call('SCARD', K.running .. tenant)
  for _ = 1, most or 100 do
    local id = redis.call('ZRANGE', parked, 0, 0)[1]
    local f = id and control(id)
    if not id then
      redis.call('SREM', K.parking, tenant)
      return
    elseif f and f.state == 'queued' then
      if running >= tonumber(f.max_running) then
        return
      end
      running = running + 1
      make_ready(id, f)
      ring(CAP)
    end
    redis.call('ZREM', parked, id)
  end
end

-- A worker has it in hand, or has no more. Of the tenants only those with a limit are counted.
local function come(id, f, worker)
  redis.call('ZADD', K.held .. worker, f.crashes, id)
  redis.call('EXPIRE', K.held .. worker, WAITING_TTL_S) -- what was deleted stays in a dead one's
  if f.max_running then
    redis.call('SADD', K.running .. f.tenant, id)
  end
end

local function go(id, f)
  redis.call('ZREM', K.leases, id)
  redis.call('ZREM', K.held .. f.worker, id)
  if f.max_running then
    redis.call('SREM', K.running .. f.tenant, id)
    unpark(f.tenant)
  end
end
