-- Shared by every verb: the way back of what runs and is not finished.

-- running → queued, at its old place; with `due` (ms) not before then.
local function requeue(id, f, due)
  go(id, f)
  redis.call('HDEL', K.request .. id, 'claim', 'worker', 'started', 'step', 'preview_step', 'preview')
  redis.call('HSET', K.request .. id, 'state', 'queued')
  join(id, f, due)
  say(id, 'queued')
end

-- The same at once, for an attempt that is to count for nothing. That it started in time does.
local function take_back(id, f)
  redis.call('HINCRBY', K.request .. id, 'attempts', -1)
  redis.call('HDEL', K.request .. id, 'start_by')
  f.start_by = nil
  requeue(id, f)
end

-- After an attempt that may have broken what it ran in: back as a suspect, or the end; after enough of them quarantine.
local function crash(id, f, outcome, retention_s)
  f.crashes = redis.call('HINCRBY', K.request .. id, 'crashes', 1)
  local enough = f.crashes >= MAX_CRASHES
  if not enough and f.retry ~= '0' and tonumber(f.attempts) < MAX_ATTEMPTS then
    requeue(id, f)
    return 'requeued'
  end
  conclude(id, f, outcome, retention_s)
  if enough then
    redis.call('ZADD', K.quarantine, NOW, id)
  end
  return 'accepted'
end
