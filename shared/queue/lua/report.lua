-- Purpose: record progress or a log line of a running attempt.
-- Guarantee: refused for a claim that does not hold the request; tells the worker that it should stop.
-- KEYS: 1 the request (hash)
-- ARGV: 1 id, 2 number, 3 claim, 4 step or '', 5 steps or '', 6 message or '', 7 level
-- Returns: 'kept', 'cancel' or 'lost'
local f = control(ARGV[1])
if not holds(f, ARGV[2], ARGV[3]) then
  return 'lost'
end
local entry = {}
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'step', ARGV[4], 'steps', ARGV[5])
  entry = {'step', ARGV[4], 'steps', ARGV[5]}
end
if ARGV[6] ~= '' then
  entry[#entry + 1], entry[#entry + 2] = 'message', ARGV[6]
  entry[#entry + 1], entry[#entry + 2] = 'level', ARGV[7]
end
say(ARGV[1], 'running', unpack(entry))
return f.cancel_requested and 'cancel' or 'kept'
