-- Give claims back whose tasks only other pools can run. Each falls due again after a delay, keeps its partition, and
-- goes to the front of its list then. This ends when no live pool has been able to run it for the time limit.
-- KEYS: as common.lua.
-- ARGV: 1 time limit in ms, 2 shortest delay in ms, then for each claim: id, token, name of the task, fingerprint with
--       which this pool knows the name (empty = it does not know it).
-- returns: one integer per claim, 1 = handed back, 0 = no other pool can run it, -1 = its token was lost.
local limit, shortest = tonumber(ARGV[1]), tonumber(ARGV[2])
-- A pool that was announced so lately lives; how long a task waits at most where none does.
local ALIVE_MS, LONGEST_MS = 30000, 30000
local ms = now_ms()
local known = redis.call('HGETALL', NAMES)

-- When a pool last knew the name with another fingerprint, nothing if none did.
local function last_known(name, fingerprint)
  local last
  for i = 1, #known, 2 do
    local theirs, theirs_name = parts(known[i])
    if theirs_name == name and theirs ~= fingerprint then last = math.max(last or 0, tonumber(known[i + 1])) end
  end
  return last
end

-- From when on the time limit of a task counts, nothing if it is not to wait.
local function counts_from(first, last, fingerprint)
  if fingerprint == '' then return math.max(first, last or 0) end
  return last and last > ms - limit and first
end

local answers = {}
for i = 3, #ARGV, 4 do
  local id, token, name, fingerprint = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local first = tonumber(redis.call('HGET', UNKNOWN, id) or ms)
  local last = last_known(name, fingerprint)
  local from = counts_from(first, last, fingerprint)
  if holder(id) ~= token then
    answers[#answers + 1] = -1
  elseif not from or ms - from >= limit then
    answers[#answers + 1] = 0
  else
    local delay = last and ms - last < ALIVE_MS and shortest or math.min(LONGEST_MS, (ms - first) / 2)
    revoke(id)
    redis.call('HDEL', CANCEL, id)
    redis.call('HSET', UNKNOWN, id, digits(first))
    redis.call('ZADD', SCHED, ms + math.floor(math.max(shortest, delay)), id)
    answers[#answers + 1] = 1
  end
end
return answers
