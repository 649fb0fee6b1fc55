-- Shared by every verb: time in which nobody looked after the leases.

-- Where nobody spoke of leases, Redis was away or its clock was set: that time says nothing about the workers, so it
-- is added to every lease, but for what rescuers may be late, and to every presence: those of one renewal end together.
-- What had been put off would wait for so much longer after a clock that was set back: it moves along, too.
-- Whoever writes a lease looks first: one that was written after the gap must not be moved by it.
local function skip_silence()
  local silence = NOW - tonumber(redis.call('GET', K.watched) or NOW)
  redis.call('SET', K.watched, NOW)
  local uncounted = math.min(silence, math.max(0, silence - SILENCE_MS))
  if uncounted ~= 0 then
    local alive, put_off = {K.leases, K.workers}, {K.leases, K.workers, K.delayed, K.webhooks}
    for _, index in ipairs(uncounted < 0 and put_off or alive) do
      for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
        redis.call('ZINCRBY', index, uncounted, member)
      end
    end
  end
end
