-- Begin or end the rebuild of a queue that lost its contents. It ends only if the queue still has what it had at the
-- beginning: a server that loses everything again meanwhile is rebuilt again.
-- KEYS: as common.lua.
-- ARGV: 1 begin | end, 2 begin: a proposed name for the new epoch, end: the name that begin answered.
-- returns: begin: the name of the epoch to build, nothing if the queue has one; end: 1 = it has one now, else 0.
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
