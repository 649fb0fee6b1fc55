-- Purpose: give a request back unfinished, because the worker drains.
-- Guarantee: back at its old place, and the attempt does not count.
-- KEYS: 1 the request (hash)
-- ARGV: 1 id, 2 number, 3 claim, 4 outcome of a cancellation, 5 retention s
-- Returns: 'requeued', 'cancelled' (its cancellation had been asked for) or 'lost'
though_full()
local id = ARGV[1]
local f = control(id)
if not holds(f, ARGV[2], ARGV[3]) then
  return 'lost'
end
if f.cancel_requested then
  conclude(id, f, cjson.decode(ARGV[4]), ARGV[5])
  return 'cancelled'
end
take_back(id, f)
return 'requeued'
