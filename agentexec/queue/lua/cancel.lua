-- Ask the holders of running tasks to stop, and remove tasks that wait: the record has ended them. Dead letters stay.
-- KEYS: as common.lua.
-- ARGV: ids.
-- returns: one integer per id, 1 = the task has a holder, 0 = it has none.
local function unpark(id)
  local partition = redis.call('HGET', PART, id)
  if not partition then return end
  local from = '[' .. partition .. '|'
  for _, member in ipairs(redis.call('ZRANGEBYLEX', PARKED, from, from .. '\255')) do
    if string.sub(member, #partition + 23) == id then redis.call('ZREM', PARKED, member) end
  end
end

local function forget(id)
  local leveled = redis.call('HGET', JOB, id)
  if not leveled or redis.call('ZSCORE', DLQ, id) then return end
  local waited = redis.call('ZREM', SCHED, id) + redis.call('ZREM', ALONE, id)
  if waited == 0 and redis.call('LREM', ready_list(leveled), 1, id) == 0 then unpark(id) end
  leave_partition(id)
  remove({ id })
end

local answers = {}
for i = 1, #ARGV do
  answers[i] = redis.call('HEXISTS', HOLDER, ARGV[i])
  if answers[i] == 1 then
    redis.call('HSET', CANCEL, ARGV[i], '1')
  else
    forget(ARGV[i])
  end
end
return answers
