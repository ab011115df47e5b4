-- Delete dead letters with everything that the queue has of their tasks; what is no dead letter stays.
-- KEYS: as common.lua.
-- ARGV: ids.
-- returns: nothing.
for i = 1, #ARGV do
  if redis.call('ZREM', DLQ, ARGV[i]) == 1 then
    for _, hash in ipairs({ REASON, JOB, CRASH, SUSPECT, CANCEL }) do redis.call('HDEL', hash, ARGV[i]) end
  end
end
