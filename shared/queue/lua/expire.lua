-- Purpose: fail what waited longer than its owner allowed.
-- Guarantee: touches queued requests only; a running one is its worker's to end.
-- KEYS: none known before
-- ARGV: 1 limit, 2 outcome of a passed start timeout, 3 outcome of a passed total timeout, 4 retention s
-- Returns: how many
though_full()
local due = redis.call('ZRANGEBYSCORE', K.deadlines, '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local f = control(id)
  if f then
    conclude(id, f, overdue(f, ARGV[2], ARGV[3]), ARGV[4])
  else
    drop(id)
  end
end
return #due
