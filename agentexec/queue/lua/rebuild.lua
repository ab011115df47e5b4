-- Begin or end the rebuilding of a queue that has lost its memory. It ends only if the memory that it began with is still
-- there, so a server that forgets everything once more in the middle is rebuilt once more.
-- KEYS: as common.lua.
-- ARGV: 1 begin | end, 2 begin: a proposed name for the new epoch, end: the name that begin answered.
-- returns: begin: the name of the epoch to be built, or nothing where the queue has one; end: 1 = it has one now, else 0.
if ARGV[1] == 'begin' then
  if redis.call('HEXISTS', CFG, 'epoch') == 1 then return false end
  redis.call('HSETNX', CFG, 'rebuilding', ARGV[2])
  return redis.call('HGET', CFG, 'rebuilding')
end
if redis.call('HGET', CFG, 'rebuilding') == ARGV[2] then
  redis.call('HSET', CFG, 'epoch', ARGV[2])
  redis.call('HDEL', CFG, 'rebuilding')
end
return redis.call('HEXISTS', CFG, 'epoch')
