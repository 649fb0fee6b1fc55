-- Shared by every verb: what is ready to be claimed, in its order and tenant by tenant.
-- A row is what is ready of one tenant in one lane after so many crashes. The first of each row is among the heads, as
-- 'id row': whoever takes nothing more of a row passes it in one step, however long it is.

local function row_of(f)
  return f.crashes .. ':' .. f.lane .. ':' .. f.tenant
end

-- At its place in a row, or without one out of it.
local function stand(id, row, place)
  local before = redis.call('ZRANGE', K.row .. row, 0, 0)[1]
  if place then
    redis.call('ZADD', K.row .. row, place, id)
  else
    redis.call('ZREM', K.row .. row, id)
  end
  local first = redis.call('ZRANGE', K.row .. row, 0, 0, 'WITHSCORES')
  if first[1] ~= before then
    if before then
      redis.call('ZREM', K.heads, before .. ' ' .. row)
    end
    if first[1] then
      redis.call('ZADD', K.heads, first[2], first[1] .. ' ' .. row)
    end
  end
end

local function make_ready(id, f)
  redis.call('ZADD', K.queue, f.place, id)
  stand(id, row_of(f), f.place)
end

local function unready(id, f)
  redis.call('ZREM', K.queue, id)
  stand(id, row_of(f))
end
