-- Shared by every script of a queue; the loader puts this text in front of each of them.
-- KEYS: 1 job, 2 fence, 3 lease, 4 own, 5 held, 6 sched, 7 dlq, 8 reason, 9 crash, 10 cancel, 11 last, 12 gone,
--       13 workers, 14 wake, 15 cfg, 16 part, 17 busy, 18 parked, 19.. ready lists, highest priority first
--       (agentexec/queue/keys.py).
-- ARGV: as the script says.
-- returns: nothing by itself.
local JOB, FENCE, LEASE, OWN, HELD, SCHED, DLQ, REASON = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local CRASH, CANCEL, LAST, GONE, WORKERS, WAKE, CFG = KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local PART, BUSY, PARKED = KEYS[16], KEYS[17], KEYS[18]
local FIRST_READY = 19
local WAKE_TOKENS = 64

-- Server clock in microseconds; exact, since 2^53 us is the year 2255.
local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

local function digits(number)
  return string.format('%.0f', number)
end

-- What the pools have agreed on (agree.lua), or else what this one says.
local function agreed(name, own)
  return tonumber(redis.call('HGET', CFG, 'set:' .. name) or own)
end

-- The ready list of a priority level; the last list if there is no such level.
local function list_of(level)
  return level ~= nil and KEYS[FIRST_READY + level] or KEYS[#KEYS]
end

-- The ready list of a task, from the priority digit in front of its payload.
local function ready_list(id)
  return list_of(tonumber(string.sub(redis.call('HGET', JOB, id) or '', 1, 1)))
end

-- Let up to `count` idle workers look again. The list is bounded: a token too few costs a second, never a task.
local function wake(count)
  local room = math.min(count, WAKE_TOKENS - redis.call('LLEN', WAKE))
  for _ = 1, room do redis.call('RPUSH', WAKE, '1') end
end

-- Token and worker of the present holder, or nil where nobody holds the task.
local function holder(id)
  local own = redis.call('HGET', OWN, id)
  if not own then return nil, nil end
  local bar = string.find(own, '|', 1, true)
  return string.sub(own, 1, bar - 1), string.sub(own, bar + 1)
end

-- Take the authority over a task away from whoever has it. What the old holder sends from now on is stale.
local function revoke(id, worker)
  redis.call('HDEL', OWN, id)
  redis.call('ZREM', LEASE, id)
  if worker then redis.call('ZREM', HELD, worker .. '|' .. id) end
end

-- Make a task ready, or park it behind the one that has its partition. Answers true where it is ready now.
-- The lease of a partition's task is the partition's lock: nothing has to be released that could be left locked.
local function admit(id, to_front)
  local partition = redis.call('HGET', PART, id)
  if partition then
    local head = redis.call('HGET', BUSY, partition)
    if head and head ~= id and redis.call('HEXISTS', JOB, head) == 1 then
      local place = string.format('%020.0f', redis.call('HINCRBY', CFG, 'seq', 1))
      redis.call('ZADD', PARKED, 0, partition .. '|' .. place .. '|' .. id)
      return false
    end
    redis.call('HSET', BUSY, partition, id)
  end
  redis.call(to_front and 'LPUSH' or 'RPUSH', ready_list(id), id)
  return true
end

-- The next of a task's partition becomes ready; the task itself belongs to it still.
local function step_aside(id)
  local partition = redis.call('HGET', PART, id)
  if not partition then return end
  if redis.call('HGET', BUSY, partition) ~= id then return end
  redis.call('HDEL', BUSY, partition)
  local first = redis.call('ZRANGEBYLEX', PARKED, '[' .. partition .. '|', '[' .. partition .. '|\255', 'LIMIT', 0, 1)[1]
  if first then
    redis.call('ZREM', PARKED, first)
    admit(string.sub(first, #partition + 23), false)
    wake(1)
  end
end

-- A task is over for good: it belongs to no partition any more.
local function leave_partition(id)
  step_aside(id)
  redis.call('HDEL', PART, id)
end

local function bury(id, reason, at)
  leave_partition(id)
  redis.call('ZADD', DLQ, at, id)
  redis.call('HSET', REASON, id, reason)
end

local function forget(id)
  leave_partition(id)
  redis.call('HDEL', JOB, id)
  redis.call('HDEL', CRASH, id)
  redis.call('HDEL', CANCEL, id)
end

-- Give a revoked task back to the front of its list, or to the dead letters once too many holders died with it.
-- Answers true where it went back to the list.
local function give_back(id, charge, max_crashes, at)
  if charge then
    local crashes = redis.call('HINCRBY', CRASH, id, 1)
    if crashes > max_crashes then
      bury(id, 'its worker died ' .. crashes .. ' times while running it', at)
      return false
    end
  end
  admit(id, true)
  return true
end
