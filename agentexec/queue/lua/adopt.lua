-- Note which activity store the queue serves. A queue that is in use keeps its store: another one has no such tasks.
-- KEYS: as common.lua.
-- ARGV: 1 the store, 2 whether to change it in any case (1 | 0).
-- returns: nothing if the queue serves this store now, else the store that it serves.
local served = redis.call('HGET', CFG, 'store')
if served and served ~= ARGV[1] and ARGV[2] == '0' then
  local tasks = redis.call('HLEN', JOB) - redis.call('ZCARD', DLQ)
  if tasks > 0 or living_workers() > 0 then return served end
end
redis.call('HSET', CFG, 'store', ARGV[1])
return false
