-- Purpose: what crashes made an end of, the latest first.
-- Guarantee: strikes off what is past its retention, and changes nothing else.
-- KEYS: 1 the quarantine (zset)
-- ARGV: 1 limit, 2 the only id that is asked for or ''
-- Returns: {{id, failed at ms, tenant, crashes, attempts, worker, created ms, input or nil, image_key or nil, base,
--   cost_px, steps, lane, file_ttl_s or nil, max_running or nil}, …}
local FIELDS = {'tenant', 'crashes', 'attempts', 'worker', 'created', 'input', 'image_key', 'base', 'cost_px', 'steps',
  'lane', 'file_ttl_s', 'max_running'}
local cases = {}
local listed
if ARGV[2] == '' then
  listed = redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
else
  local failed = redis.call('ZSCORE', KEYS[1], ARGV[2])
  listed = failed and {ARGV[2], failed} or {}
end
for i = 1, #listed, 2 do
  local fields = redis.call('HMGET', K.request .. listed[i], unpack(FIELDS))
  if fields[1] then
    cases[#cases + 1] = {listed[i], tonumber(listed[i + 1]), unpack(fields, 1, #FIELDS)}
  else
    redis.call('ZREM', KEYS[1], listed[i])
  end
end
return cases
