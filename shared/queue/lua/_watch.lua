-- Shared by every verb: time in which nobody looked after the leases.

-- Where all rescuers were silent, Redis was away or its clock was set: that time says nothing about the workers, so it
-- is added to every lease, but for what rescuers may be late.
local function skip_silence()
  local silence = NOW - tonumber(redis.call('GET', K.watched) or NOW)
  redis.call('SET', K.watched, NOW)
  local uncounted = math.min(silence, math.max(0, silence - SILENCE_MS))
  if uncounted ~= 0 then
    for _, id in ipairs(redis.call('ZRANGE', K.leases, 0, -1)) do
      redis.call('ZINCRBY', K.leases, uncounted, id)
    end
  end
end
