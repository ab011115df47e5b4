-- Store the settings of a pool, and answer with those of the previous pool that differ.
-- KEYS: as common.lua.
-- ARGV: names and values, alternating.
-- returns: for each name that had another value: the name and that value.
local differing = {}
for i = 1, #ARGV, 2 do
  local field = 'set:' .. ARGV[i]
  local before = redis.call('HGET', CFG, field)
  if before and before ~= ARGV[i + 1] then
    differing[#differing + 1], differing[#differing + 2] = ARGV[i], before
  end
  redis.call('HSET', CFG, field, ARGV[i + 1])
end
return differing
