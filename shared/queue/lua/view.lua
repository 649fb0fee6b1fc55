-- Purpose: what a status answer needs, at one moment.
-- Guarantee: reads only.
-- KEYS: 1 the request (hash)
-- ARGV: 1 id
-- Returns: nil, or {now ms, position or nil, state, tenant, base, attempts, cancel_requested, step, steps, created,
--   started, finished, error, error_type, inference_s, gpu_s}
local f = redis.call('HMGET', KEYS[1], 'state', 'tenant', 'base', 'attempts', 'cancel_requested', 'step', 'steps',
  'created', 'started', 'finished', 'error', 'error_type', 'inference_s', 'gpu_s')
if not f[1] then
  return nil
end
local ahead = f[1] == 'queued' and position(ARGV[1], redis.call('HGET', KEYS[1], 'place'), f[2])
return {NOW, ahead, unpack(f, 1, 14)}
