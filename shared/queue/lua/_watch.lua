-- Shared by every verb: time in which nobody looked after the leases.

-- Where all rescuers were silent, Redis was away or its clock was set: that time says nothing about the workers, so it
-- is added to every lease, but for what rescuers may be late. What had been put off would wait for so much longer after
-- a clock that was set back: it moves along, too.
local function skip_silence()
  local silence = NOW - tonumber(redis.call('GET', K.watched) or NOW)
  redis.call('SET', K.watched, NOW)
  local uncounted = math.min(silence, math.max(0, silence - SILENCE_MS))
  if uncounted ~= 0 then
    for _, index in ipairs(uncounted < 0 and {K.leases, K.delayed, K.webhooks} or {K.leases}) do
      for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
        redis.call('ZINCRBY', index, uncounted, id)
      end
    end
  end
end
