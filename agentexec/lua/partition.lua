-- Give claimed tasks the partitions that their producers did not know of. One whose partition is taken is parked.
-- KEYS: as common.lua.
-- ARGV: for each claim: id, token, partition.
-- returns: one integer per claim, 1 = it may run, 0 = it was parked and the claim is void, -1 = the claim was lost before.
local answers = {}
for i = 1, #ARGV, 3 do
  local id, token, partition = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local held, by = holder(id)
  if held ~= token then
    answers[#answers + 1] = -1
  else
    redis.call('HSETNX', PART, id, partition)
    local head = redis.call('HGET', BUSY, redis.call('HGET', PART, id))
    if not head or head == id or redis.call('HEXISTS', JOB, head) == 0 then
      redis.call('HSET', BUSY, redis.call('HGET', PART, id), id)
      answers[#answers + 1] = 1
    else
      revoke(id, by)
      admit(id, false)
      answers[#answers + 1] = 0
    end
  end
end
return answers
