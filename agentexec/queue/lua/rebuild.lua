-- Begin or end the rebuild of a queue that lost its contents, or may lack the end of them: its server started again, or
-- another one took over. It ends only if the queue still has what it had at the beginning.
-- KEYS: as common.lua.
-- ARGV: 1 begin | end, 2 begin: a proposed name for the new epoch, end: the name that begin answered.
-- returns: begin: the name of the epoch to build, nothing if the queue has one; end: 1 = it has one now, else 0.
if ARGV[1] == 'begin' then
  local info = redis.pcall('INFO', 'server') -- a user may have no right to it
  local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
  if redis.call('HGET', CFG, 'server') ~= server then
    redis.call('HDEL', CFG, 'epoch', 'rebuilding')
    redis.call('HSET', CFG, 'server', server)
  end
  if redis.call('HEXISTS', CFG, 'epoch') == 1 then return false end
  redis.call('HSETNX', CFG, 'rebuilding', ARGV[2])
  return redis.call('HGET', CFG, 'rebuilding')
end
if redis.call('HGET', CFG, 'rebuilding') == ARGV[2] then
  redis.call('HSET', CFG, 'epoch', ARGV[2])
  redis.call('HDEL', CFG, 'rebuilding')
end
return redis.call('HEXISTS', CFG, 'epoch')
