-- Keep how the pools of this queue are set, and tell the one that says it where another one differed.
-- KEYS: as common.lua.
-- ARGV: names and values, in turns.
-- returns: for each name that had another value: the name and that value.
local differed = {}
for i = 1, #ARGV, 2 do
  local field = 'set:' .. ARGV[i]
  local before = redis.call('HGET', CFG, field)
  if before and before ~= ARGV[i + 1] then
    differed[#differed + 1] = ARGV[i]
    differed[#differed + 1] = before
  end
  redis.call('HSET', CFG, field, ARGV[i + 1])
end
return differed
