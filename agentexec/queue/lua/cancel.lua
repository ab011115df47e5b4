-- Ask for running tasks to be stopped; their workers learn of it with their next renewal.
-- KEYS: as common.lua.
-- ARGV: ids.
-- returns: one integer per id, 1 = somebody holds it and will be told, 0 = nobody does.
local answers = {}
for i = 1, #ARGV do
  if redis.call('HEXISTS', OWN, ARGV[i]) == 1 then
    redis.call('HSET', CANCEL, ARGV[i], '1')
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers
