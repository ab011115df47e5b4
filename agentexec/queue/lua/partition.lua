-- Give claimed tasks the partitions that their producers did not know. A task whose partition is occupied is parked.
-- A queue that lost its contents does not know which task occupies a partition: the claim is void, and the task falls
-- due again.
-- KEYS: as common.lua.
-- ARGV: for each claim: id, token, partition.
-- returns: one integer per claim, 1 = it may run, 0 = the claim is void and the task waits, -1 = its token was lost.
local AGAIN_MS = 1000
local rebuilt = redis.call('HEXISTS', CFG, 'epoch') == 1
local answers = {}
for i = 1, #ARGV, 3 do
  local id, token, partition = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if holder(id) ~= token then
    answers[#answers + 1] = -1
  elseif not rebuilt then
    revoke(id)
    redis.call('ZADD', SCHED, now_ms() + AGAIN_MS, id)
    answers[#answers + 1] = 0
  else
    redis.call('HSETNX', PART, id, partition)
    if occupy(id, redis.call('HGET', PART, id)) then
      answers[#answers + 1] = 1
    else
      revoke(id)
      admit(id, false)
      answers[#answers + 1] = 0
    end
  end
end
return answers
