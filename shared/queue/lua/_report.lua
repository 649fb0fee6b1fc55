-- Shared by every verb: what a worker says while it works.
-- What a worker says of its attempt: step and steps, a message and its level; '' for what it does not say.
local function note(id, step, steps, message, level)
  local entry = {}
  if step ~= '' then
    redis.call('HSET', K.request .. id, 'step', step, 'steps', steps)
    entry = {'step', step, 'steps', steps}
  end
  if message ~= '' then
    entry[#entry + 1], entry[#entry + 2] = 'message', message
    entry[#entry + 1], entry[#entry + 2] = 'level', level
  end
  say(id, 'running', unpack(entry))
end
