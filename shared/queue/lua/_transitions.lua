-- Shared by every verb: the transitions that several verbs make. Each writes state, indexes and history in one go.
-- An outcome is JSON: an object whose members become fields of the request; `state` says how it ended.

-- From now on the picture that came with a request is due `ttl_s` from now. Another's file has a life of its own.
local function keep_picture(id, f, ttl_s)
  if f.image_key and string.find(f.image_key, id, 1, true) then
    redis.call('ZADD', K.files, 'XX', NOW + ttl_s * 1000, f.image_key)
  end
end

-- From now on a result that is a file is due at `at_ms`.
local function keep_body(body_key, at_ms)
  if body_key then
    redis.call('ZADD', K.files, 'XX', at_ms, body_key)
  end
end

-- queued or running → final. `f` is what control() gave; f.state tells which indexes to leave.
local function conclude(id, f, outcome, retention_s)
  local key, fields = K.request .. id, {'finished', NOW}
  for name, value in pairs(outcome) do
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
  if f.state == 'queued' then
    local was_ready = redis.call('ZSCORE', K.queue, id)
    leave(id, f)
    give_back(f)
    unpark(f.tenant, was_ready and 1 or 0) -- to the room that it may have been let out for
  elseif f.state == 'running' then
    go(id, f)
    redis.call('HDEL', key, 'preview_step', 'preview')
  end
  redis.call('HSET', key, unpack(fields))
  say(id, outcome.state)
  local ttl_s = tonumber(retention_s)
  if f.keep_io == '0' then
    redis.call('HDEL', key, 'input')
    ttl_s = math.min(ttl_s, UNKEPT_TTL_S)
  end
  keep_picture(id, f, ttl_s)
  local expires = NOW + ttl_s * 1000
  if f.webhook then -- tells it until settle says that it need not; then the rest of its own life counts
    redis.call('ZADD', K.webhooks, NOW, id)
    redis.call('HSET', key, 'expires', expires)
    ttl_s = math.max(ttl_s, UNTOLD_TTL_S)
    keep_body(outcome.body_key, NOW + ttl_s * 1000)
  end
  redis.call('EXPIRE', key, ttl_s)
  redis.call('EXPIRE', K.events .. id, ttl_s)
  if f.idempotency then -- outlives what its owner wants forgotten sooner: the work must not be done again
    redis.call('EXPIRE', f.idempotency, retention_s)
  end
end
