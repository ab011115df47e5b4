-- Ask for running tasks to be canceled; their workers learn of it with their next renewal.
-- KEYS: as common.lua.
-- ARGV: ids.
-- returns: one integer per id, 1 = the task has a holder, 0 = it has none.
local answers = {}
for i = 1, #ARGV do
  answers[i] = redis.call('HEXISTS', HOLDER, ARGV[i])
  if answers[i] == 1 then redis.call('HSET', CANCEL, ARGV[i], '1') end
end
return answers
