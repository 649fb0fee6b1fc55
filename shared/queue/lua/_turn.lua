-- Shared by every verb: whose turn it is, and whose time is up.

-- The outcome of a queued request whose time is up, or nil. `start` and `total` are JSON outcomes.
local function overdue(f, start, total)
  if f.start_by and NOW >= tonumber(f.start_by) then
    return cjson.decode(start)
  elseif f.finish_by and NOW >= tonumber(f.finish_by) then
    return cjson.decode(total)
  end
  return nil
end

-- The first of the queue that may start, with its fields, or nil. Those before it whose time is up fail, and those
-- whose tenant has no room are parked; those of a tenant in `avoided` (its id → true) are left for another worker.
-- `start` and `total` are the outcomes of passed timeouts.
local function head(start, total, retention_s, avoided)
  local skipped = 0
  for _ = 1, 100 do
    local id = redis.call('ZRANGE', K.queue, skipped, skipped)[1]
    if not id then
      return nil
    end
    local f = control(id)
    local ended = f and overdue(f, start, total)
    if ended then
      conclude(id, f, ended, retention_s)
    elseif not f then
      drop(id)
    elseif is_full(f) then
      park(id, f)
    elseif avoided[f.tenant] then
      skipped = skipped + 1
    else
      return id, f
    end
  end
  if skipped == 0 then
    ring(1)
  end
  return nil
end
