-- Purpose: accept a request: everything about it is written here, or nothing is.
-- Guarantee: one Idempotency-Key makes one request for as long as the key lives, even if that request is gone; running
--   it again for the same id changes nothing. A rejection is born failed with its history, webhook entry and TTLs, and
--   never enters the queue.
-- KEYS: 1 the request (hash), 2 its Idempotency-Key (string; only if it has one)
-- ARGV: 1 id, 2 sha256 of the body, 3 longest queue or '', 4 start timeout ms or '', 5 total timeout ms or '',
--   6 outcome of a rejection or '', 7 retention s, 8 tenant, 9 how many of the tenant's may be queued or '',
--   10… other fields of the hash: name, value, …
-- Returns: {verdict, id, position}; verdict is 'accepted', 'replayed', 'full', 'crowded' (the tenant) or 'conflict'
local id = ARGV[1]

local function receipt(verdict, known)
  local f = control(known)
  return {verdict, known, f and f.state == 'queued' and position(known, f.place, f.tenant) or 0}
end

local earlier = KEYS[2] and redis.call('GET', KEYS[2])
if earlier then
  local known, body = string.match(earlier, '^(%S+) (.*)$')
  if known ~= id then
    return body == ARGV[2] and receipt('replayed', known) or {'conflict', known, 0}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return receipt('accepted', id)
end
local rejected = ARGV[6] ~= ''
if ARGV[3] ~= '' and not rejected then
  if waiting() > tonumber(ARGV[3]) then
    return {'full', id, 0}
  end
end
if ARGV[9] ~= '' and not rejected and is_crowded(ARGV[8], tonumber(ARGV[9])) then
  return {'crowded', id, 0}
end

redis.call('HSET', KEYS[1], 'created', NOW, 'number', 0, 'attempts', 0, 'crashes', 0, 'tenant', ARGV[8],
  unpack(ARGV, 10))
if KEYS[2] then
  redis.call('SET', KEYS[2], id .. ' ' .. ARGV[2], 'EX', ARGV[7] + WAITING_TTL_S)
  redis.call('HSET', KEYS[1], 'idempotency', KEYS[2])
end
if rejected then
  redis.call('HSET', KEYS[1], 'state', 'new')
  conclude(id, control(id), cjson.decode(ARGV[6]), ARGV[7])
  return {'accepted', id, 0}
end
redis.call('HSET', KEYS[1], 'state', 'queued')
for i, name in ipairs({'start_by', 'finish_by'}) do
  if ARGV[3 + i] ~= '' then
    redis.call('HSET', KEYS[1], name, NOW + ARGV[3 + i])
  end
end
local f = control(id)
keep_picture(id, f, ARGV[7] + WAITING_TTL_S)
f.place = draw_place(f)
redis.call('HSET', KEYS[1], 'place', f.place)
say(id, 'queued')
join(id, f)
return receipt('accepted', id)
