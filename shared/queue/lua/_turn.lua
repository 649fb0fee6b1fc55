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

-- The first of the queue that may start in a worker, with its fields, or nil. Those before it whose time is up fail,
-- and those whose tenant has no room are parked; the rows of a tenant in `avoided` (its id → true) are left for another
-- worker, and so are suspects while it has too many in hand, unless it is the one to make room.
-- `start` and `total` are the outcomes of passed timeouts.
local function head(start, total, retention_s, avoided, worker)
  local passed, count, most = 0, in_hand(worker)
  if count >= most then
    return nil
  end
  for _ = 1, 100 do
    local first = redis.call('ZRANGE', K.heads, passed, passed)[1]
    if not first then
      return nil
    end
    local id, row = string.match(first, '^(%S+) (.*)$')
    local f = control(id)
    local ended = f and overdue(f, start, total)
    if not f then
      drop(id)
      stand(id, row)
      redis.call('ZREM', K.tenant .. string.match(row, ':(.*)$'), id)
    elseif row ~= row_of(f) or not redis.call('ZSCORE', K.queue, id) then -- a script of another version took it
      stand(id, row)
    elseif ended then
      conclude(id, f, ended, retention_s)
    elseif is_full(f) then
      park(id, f)
    elseif avoided[f.tenant] then
      passed = passed + 1
    elseif count >= company(f.crashes) then
      if makes_room(worker, count) then
        return nil
      end
      passed = passed + 1
    else
      return id, f
    end
  end
  if passed < 100 then -- something was done, so the next claim sees more
    ring(1)
  end
  return nil
end
