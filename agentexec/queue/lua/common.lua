-- Shared by every script of a queue; the loader puts this text in front of each of them.
-- KEYS: 1 job, 2 fence, 3 lease, 4 holder, 5 sched, 6 dlq, 7 reason, 8 crash, 9 cancel, 10 last, 11 gone, 12 workers,
--       13 wake, 14 cfg, 15 part, 16 busy, 17 parked, 18 seen, 19 suspect, 20 alone, 21 names, 22 unknown,
--       23.. ready lists, highest priority first (queue/keys.py).
-- ARGV: as the script says.
-- returns: nothing by itself.
local JOB, FENCE, LEASE, HOLDER, SCHED, DLQ, REASON = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local CRASH, CANCEL, LAST, GONE, WORKERS, WAKE, CFG = KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local PART, BUSY, PARKED, SEEN = KEYS[15], KEYS[16], KEYS[17], KEYS[18]
local SUSPECT, ALONE, NAMES, UNKNOWN = KEYS[19], KEYS[20], KEYS[21], KEYS[22]
local FIRST_READY = 23
local WAKE_TOKENS = 64
local KEEP_GONE_MS = 24 * 3600 * 1000
-- A task that had a part in so many deaths of workers runs alone until its handler ends.
local ALONE_AFTER = 2

-- Server clock in microseconds, the same for the whole script; exact, since 2^53 us is the year 2255.
local clock
local function now_us()
  if not clock then
    local t = redis.call('TIME')
    clock = tonumber(t[1]) * 1000000 + tonumber(t[2])
  end
  return clock
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

local function digits(number)
  return string.format('%.0f', number)
end

-- The setting that the pools agreed on (agree.lua), or else the caller's own.
local function agreed(name, own)
  return tonumber(redis.call('HGET', CFG, 'set:' .. name) or own)
end

-- The ready list of a task, from the priority digit in front of its payload; the last list without such a level.
local function ready_list(leveled)
  local level = tonumber(string.sub(leveled, 1, 1))
  return level and KEYS[FIRST_READY + level] or KEYS[#KEYS]
end

-- Wake up to `count` idle workers. The list is bounded: a missing token costs a second, never a task.
local function wake(count)
  local room = math.min(count, WAKE_TOKENS - redis.call('LLEN', WAKE))
  for _ = 1, room do redis.call('RPUSH', WAKE, '1') end
end

-- Call a command with a list of arguments, in parts that fit on the stack of Lua; returns what the replies list.
local function send(command, key, arguments)
  local listed = {}
  for first = 1, #arguments, 1000 do
    local reply = redis.call(command, key, unpack(arguments, first, math.min(#arguments, first + 999)))
    for _, value in ipairs(type(reply) == 'table' and reply or {}) do listed[#listed + 1] = value end
  end
  return listed
end

-- The two parts of a value such as token|worker, nothing if there is none.
local function parts(value)
  if not value then return end
  local bar = string.find(value, '|', 1, true)
  return string.sub(value, 1, bar - 1), string.sub(value, bar + 1)
end

-- Token and worker of the holder of a task, nothing if it has none.
local function holder(id)
  return parts(redis.call('HGET', HOLDER, id))
end

-- The leases of every worker that has some: worker -> {{id, token}, ...}. It reads all of them, for what is rare.
local function leases_by_worker()
  local held, found = redis.call('HGETALL', HOLDER), {}
  for i = 1, #held, 2 do
    local token, worker = parts(held[i + 1])
    found[worker] = found[worker] or {}
    table.insert(found[worker], { held[i], token })
  end
  return found
end

-- The number of workers that lately noted that they live, as each does three times in a lease.
local function living_workers()
  return redis.call('ZCOUNT', SEEN, now_ms() - 2000 * agreed('lease_seconds', 30), '+inf')
end

-- Remove what is known about a worker. Its leases stay: they are revoked, or expire.
local function forget_worker(name)
  redis.call('HDEL', LAST, name)
  redis.call('HDEL', WORKERS, name)
  redis.call('ZREM', SEEN, name)
end

-- Take the lease of a task away. What its holder sends from now on is stale.
local function revoke(id)
  redis.call('HDEL', HOLDER, id)
  redis.call('ZREM', LEASE, id)
end

-- Let a task occupy its partition. Returns false if another task does. The lease of the task that occupies it is the
-- lock of the partition: there is no lock beside it that could stay locked.
local function occupy(id, partition)
  local head = redis.call('HGET', BUSY, partition)
  if head and head ~= id and redis.call('HEXISTS', JOB, head) == 1 then return false end
  redis.call('HSET', BUSY, partition, id)
  return true
end

-- The number of worker deaths in which a task had a part, and the token that it had at the last one.
local function deaths(id)
  local count, token = parts(redis.call('HGET', SUSPECT, id))
  return tonumber(count or 0), token
end

-- Note that a task had a part in a death, once for each token.
local function note_death(id, token)
  local count, last = deaths(id)
  if last ~= token then redis.call('HSET', SUSPECT, id, count + 1 .. '|' .. token) end
end

-- Note the part of tasks in the death of their worker where it charges none of them: there are several, or the only one
-- had not begun. One that runs alone because of earlier deaths is charged all the same.
local function share_death(leases, begun)
  local several = #leases > 1
  if begun and not several then return end
  for _, lease in ipairs(leases) do
    if several or deaths(lease[1]) < ALONE_AFTER then note_death(lease[1], lease[2]) end
  end
end

-- Make a task ready, or park it behind the task that occupies its partition. Returns true if it is ready now.
local function admit(id, to_front)
  local partition = redis.call('HGET', PART, id)
  if partition and not occupy(id, partition) then
    local place = string.format('%020.0f', redis.call('HINCRBY', CFG, 'seq', 1))
    redis.call('ZADD', PARKED, 0, partition .. '|' .. place .. '|' .. id)
    return false
  end
  if deaths(id) >= ALONE_AFTER then
    redis.call('ZADD', ALONE, now_ms(), id)
  else
    redis.call(to_front and 'LPUSH' or 'RPUSH', ready_list(redis.call('HGET', JOB, id) or ''), id)
  end
  return true
end

-- Let the next task of a partition be ready; the task itself stays in the partition.
local function free_partition(id)
  local partition = redis.call('HGET', PART, id)
  if not partition then return end
  if redis.call('HGET', BUSY, partition) ~= id then return end
  redis.call('HDEL', BUSY, partition)
  local from = '[' .. partition .. '|'
  local first = redis.call('ZRANGEBYLEX', PARKED, from, from .. '\255', 'LIMIT', 0, 1)[1]
  if first then
    redis.call('ZREM', PARKED, first)
    admit(string.sub(first, #partition + 23), false)
    wake(1)
  end
end

-- Free the partition of a task that does not run again.
local function leave_partition(id)
  free_partition(id)
  redis.call('HDEL', PART, id)
end

-- Forget why a task was to run alone or elsewhere: its handler ended.
local function clear(id)
  redis.call('HDEL', SUSPECT, id)
  redis.call('HDEL', UNKNOWN, id)
end

local function dead_letter(id, reason)
  leave_partition(id)
  clear(id)
  redis.call('HDEL', CANCEL, id)
  redis.call('ZADD', DLQ, now_ms(), id)
  redis.call('HSET', REASON, id, reason)
end

-- Remove tasks that have left their partitions.
local function remove(ids)
  send('HDEL', JOB, ids)
  -- Mostly there is none of these hashes, and one command finds that out.
  if redis.call('EXISTS', CRASH, CANCEL, SUSPECT, UNKNOWN) == 0 then return end
  for _, hash in ipairs({ CRASH, CANCEL, SUSPECT, UNKNOWN }) do send('HDEL', hash, ids) end
end

-- Make a revoked task ready again, or a dead letter after too many crashes. With `charge` its worker is dead: the task
-- is charged with a crash if it was the only one of that worker. Returns true if it is ready.
local function requeue(id, token, charge, max_crashes)
  local _, shared = deaths(id)
  if charge and shared ~= token then
    local crashes = redis.call('HINCRBY', CRASH, id, 1)
    if crashes > max_crashes then
      dead_letter(id, 'its worker died ' .. crashes .. ' times while running it')
      return false
    end
    note_death(id, token)
  end
  admit(id, true)
  return true
end
