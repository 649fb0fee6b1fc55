-- Purpose: end an attempt with its outcome.
-- Guarantee: accepted once, and only from the claim that holds the request; offering it again is answered the same and
--   changes nothing. A request whose cancellation was asked for ends as cancelled, whatever is offered. One that may
--   have broken what it ran in has crashed, as if its worker had died.
-- KEYS: none but through the id
-- ARGV: 1 id, 2 number, 3 claim, 4 outcome, 5 what follows ('end', 'retry' or 'crash'), 6 retry delay ms,
--   7 outcome of a cancellation, 8 retention s, 9… the last note, if any: step or '', steps or '', message or '', level
-- Returns: 'accepted', 'cancelled', 'requeued' or 'lost'
though_full()
local id = ARGV[1]
local f = control(id)
if not holds(f, ARGV[2], ARGV[3]) then
  if f and f.number == ARGV[2] and f.claim == ARGV[3] then
    return f.cancel_requested and 'cancelled' or 'accepted'
  end
  return 'lost'
end
if ARGV[9] then
  note(id, unpack(ARGV, 9, 12))
end
if f.cancel_requested then
  conclude(id, f, cjson.decode(ARGV[7]), ARGV[8])
  return 'cancelled'
end
if ARGV[5] == 'crash' then
  return crash(id, f, cjson.decode(ARGV[4]), ARGV[8])
end
if ARGV[5] == 'retry' and f.retry ~= '0' and tonumber(f.attempts) < MAX_ATTEMPTS then
  local delay_ms = tonumber(ARGV[6])
  requeue(id, f, delay_ms > 0 and NOW + delay_ms or nil)
  return 'requeued'
end
conclude(id, f, cjson.decode(ARGV[4]), ARGV[8])
return 'accepted'
