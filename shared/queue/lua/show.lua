-- Purpose: keep a preview of a running attempt, in the place of the one before; it goes when the attempt ends.
-- Guarantee: refused for a claim that does not hold the request.
-- KEYS: 1 the request (hash)
-- ARGV: 1 id, 2 number, 3 claim, 4 the step that it shows, 5 its URL
-- Returns: 1 or 0
if not holds(control(ARGV[1]), ARGV[2], ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], 'preview_step', ARGV[4], 'preview', ARGV[5])
return 1
