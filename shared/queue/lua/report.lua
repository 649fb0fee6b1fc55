-- Purpose: record progress or a log line of a running attempt.
-- Guarantee: refused for a claim that does not hold the request; tells the worker that it should stop.
-- KEYS: 1 the request (hash)
-- ARGV: 1 id, 2 number, 3 claim, 4 step or '', 5 steps or '', 6 message or '', 7 level
-- Returns: 'kept', 'cancel' or 'lost'
though_full()
local f = control(ARGV[1])
if not holds(f, ARGV[2], ARGV[3]) then
  return 'lost'
end
note(ARGV[1], unpack(ARGV, 4, 7))
return f.cancel_requested and 'cancel' or 'kept'
