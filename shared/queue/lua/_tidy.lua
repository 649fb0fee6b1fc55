-- Shared by every verb: what scripts of another version, or whoever deleted a request, left astray.

-- Whether any of a tenant's is ready and has not crashed yet.
local function has_ready(tenant)
  local normal, low = row_of({crashes = 0, lane = 0, tenant = tenant}), row_of({crashes = 0, lane = 1, tenant = tenant})
  return redis.call('EXISTS', K.row .. normal, K.row .. low) > 0
end

-- What was not counted as ended, and whoever is parked on its account; where some are ready, those that end see to it.
local function tidy_room()
  for _, tenant in ipairs(redis.call('SMEMBERS', K.parking)) do
    for _, id in ipairs(redis.call('SMEMBERS', K.running .. tenant)) do
      if not redis.call('ZSCORE', K.leases, id) then
        redis.call('SREM', K.running .. tenant, id)
      end
    end
    if not has_ready(tenant) then
      unpark(tenant)
    end
  end
end

-- What is in a worker's hands and does not run there.
local function tidy_hands()
  for _, worker in ipairs(redis.call('ZRANGE', K.workers, 0, -1)) do
    for _, id in ipairs(redis.call('ZRANGE', K.held .. worker, 0, -1)) do
      local holder = redis.call('HGET', K.request .. id, 'worker')
      if holder ~= worker or not redis.call('ZSCORE', K.leases, id) then
        redis.call('ZREM', K.held .. worker, id)
      end
    end
  end
end

-- What is in the queue and in no row. Nobody claims it, so it comes to the front, where this finds it.
local function tidy_rows()
  for _, id in ipairs(redis.call('ZRANGE', K.queue, 0, 99)) do
    local f = control(id)
    if not f then
      drop(id)
    elseif not redis.call('ZSCORE', K.row .. row_of(f), id) then
      stand(id, row_of(f), f.place)
    end
  end
end

-- The sum of what waits: what a deleted request cost cannot be known any more.
local function tidy_work()
  if waiting() == 0 and redis.call('GET', K.work) ~= '0' then
    redis.call('SET', K.work, 0)
  end
end

local function tidy()
  tidy_room()
  tidy_hands()
  tidy_rows()
  tidy_work()
end
