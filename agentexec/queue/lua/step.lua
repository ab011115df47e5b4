-- One round trip of a worker: finish tasks, promote what is due, revoke expired leases, claim for the free slots.
-- Replay-safe: a call with the nonce of the previous one gets the previous reply and changes nothing. Claims that were
-- revoked since are left out: their tasks may have other holders by now, or wait for their lock key.
-- KEYS: as common.lua.
-- ARGV: 1 worker, 2 nonce, 3 lease in ms, 4 how many to claim, 5 lowest token to give,
--       6 max crashes (if the pools have agreed on none),
--       7 whether it keeps other leases than those that it finishes (1 | 0),
--       then for each finish: id, token, disposition (ack | retry | defer | dead_letter),
--       detail (retry, defer: delay in ms; dead_letter: reason).
-- returns: {'GONE'} for a worker that was declared dead, else
--          {'OK', ms until the next scheduled task or expiry (-1 = none),
--           claims {{id, token, ...}, {partition or nothing, ...}, {priority digit + payload, ...}},
--           finishes {1 accepted | 0 stale, ...}, requeued {id, lost token, ...}, dead {id, lost token, ...},
--           ids of the worker's tasks that are to be canceled,
--           1 if the worker gets no other tasks before those that it has have ended,
--           texts that are no ids and became dead letters,
--           a text that changes when a pool announces tasks that no pool had announced before}.
local worker, nonce, lease_ms, want = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local lowest, max_crashes, busy = tonumber(ARGV[5]), agreed('max_crashes', ARGV[6]), ARGV[7] == '1'
local REVOKE_AT_ONCE, PROMOTE_AT_ONCE, TURN = 64, 64, 8
-- How long tasks wait to run alone until a worker stops claiming, so that it has no other task; how long it does that
-- after its last step; how long no worker does that where enough of them run a task alone.
local QUIET_AFTER_MS, QUIET_MS, NOT_QUIET_MS = 5000, 5000, 30000

if redis.call('ZSCORE', GONE, worker) then return { 'GONE' } end

local function to_cancel()
  local ids = {}
  for _, id in ipairs(redis.call('HKEYS', CANCEL)) do
    local _, by = holder(id)
    if by == worker then ids[#ids + 1] = id end
  end
  return ids
end

local partitioned = redis.call('EXISTS', PART) == 1
-- Not in the answer to a replay.
local foreign = {}
local turn, names = unpack(redis.call('HMGET', CFG, 'turn', 'names'))
turn, names = tonumber(turn or '0'), names or ''

-- `jobs` has what JOB holds of the claims, where that is known.
local function reply(claims, jobs, finishes, requeued, dead, reserved, now)
  local due = -1
  for _, key in ipairs({ SCHED, LEASE }) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] then
      local wait = math.max(0, tonumber(first[2]) - now)
      if due < 0 or wait < due then due = wait end
    end
  end
  local ids = {}
  for i = 1, #claims, 2 do ids[#ids + 1] = claims[i] end
  local claimed = { claims, partitioned and send('HMGET', PART, ids) or {}, jobs or send('HMGET', JOB, ids) }
  return { 'OK', due, claimed, finishes, requeued, dead, to_cancel(), reserved ~= '' and 1 or 0, foreign, names }
end

local function still_held(claims)
  local held = {}
  for i = 1, #claims, 2 do
    local token, by = holder(claims[i])
    if token == claims[i + 1] and by == worker then
      held[#held + 1], held[#held + 2] = claims[i], token
    end
  end
  return held
end

local now = now_us()
local ms = math.floor(now / 1000)

-- Why the worker gets no other tasks: the id of the one that it runs alone, 'quiet', or nothing.
local reserved = ''
local previous, kept = parts(redis.call('HGET', LAST, worker))
if previous then
  reserved, kept = parts(kept)
  if previous == nonce then
    local claims, finishes, requeued, dead = unpack(cjson.decode(kept))
    return reply(still_held(claims), nil, finishes, requeued, dead, reserved, ms)
  end
end

local finishes, given, ended, acknowledged = {}, {}, {}, {}
for i = 8, #ARGV, 4 do given[#given + 1] = ARGV[i] end
local held_by = {}
for i, value in ipairs(send('HMGET', HOLDER, given)) do held_by[given[i]] = value end
for i = 8, #ARGV, 4 do
  local id, token, disposition, detail = unpack(ARGV, i, i + 3)
  local held = parts(held_by[id])
  if held ~= token then
    finishes[#finishes + 1] = 0
  else
    if disposition == 'ack' then
      if partitioned then leave_partition(id) end
      acknowledged[#acknowledged + 1] = id
    elseif disposition == 'dead_letter' then
      dead_letter(id, detail)
    else
      -- A deferred task has not run; a handler that failed did not kill its worker.
      if disposition == 'defer' then free_partition(id) else clear(id) end
      redis.call('HDEL', CANCEL, id)
      redis.call('ZADD', SCHED, ms + tonumber(detail), id)
    end
    finishes[#finishes + 1] = 1
    ended[#ended + 1] = id
    held_by[id] = nil
  end
end
send('HDEL', HOLDER, ended)
send('ZREM', LEASE, ended)
remove(acknowledged)

local handed_back = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', SCHED, '-inf', ms, 'LIMIT', 0, PROMOTE_AT_ONCE)) do
  redis.call('ZREM', SCHED, id)
  if redis.call('HEXISTS', UNKNOWN, id) == 1 then
    table.insert(handed_back, 1, id)
  else
    admit(id, false)
  end
end
-- They were first before. Backwards, since each goes to the front of its list.
for _, id in ipairs(handed_back) do admit(id, true) end

local requeued, dead, held = {}, {}, nil
local expired = redis.call('ZRANGEBYSCORE', LEASE, '-inf', ms, 'LIMIT', 0, REVOKE_AT_ONCE)
-- Backwards, since each goes to the front of its list: the lease that expired first is first again.
for i = #expired, 1, -1 do
  local id = expired[i]
  local token, by = holder(id)
  -- Together with the leases that have not expired yet: the worker died with those, too.
  held = held or leases_by_worker()
  share_death(held[by] or {}, true)
  held[by or ''] = nil
  revoke(id)
  local into = requeue(id, token or '0', true, max_crashes) and requeued or dead
  into[#into + 1], into[#into + 2] = id, token or '0'
end

-- Every TURN-th claim is made from the lowest priority upwards, so that no priority starves.
local function pop(turn, count)
  local from, to, by = FIRST_READY, #KEYS, 1
  if turn % TURN == 0 then from, to, by = #KEYS, FIRST_READY, -1 end
  for k = from, to, by do
    local ids = redis.call('LPOP', KEYS[k], count)
    if ids then return ids end
  end
end

-- An id as workers write it. Under another spelling of it, they would read one task and finish another.
local HEX = '[0-9a-f]'
local ID = '^' .. HEX:rep(8) .. ('%-' .. HEX:rep(4)):rep(3) .. '%-' .. HEX:rep(12) .. '$'

-- The next task that waits to run alone. An id without a job is dropped, as below.
local function pop_alone()
  local id
  repeat id = redis.call('ZPOPMIN', ALONE)[1] until not id or redis.call('HEXISTS', JOB, id) == 1
  return id
end

-- Whether half of the living workers run a task alone: the others go on with all other tasks.
local function alone_enough(leases)
  local running = 0
  for _, of_worker in pairs(leases) do
    for _, lease in ipairs(of_worker) do
      if deaths(lease[1]) >= ALONE_AFTER then running = running + 1 end
    end
  end
  return running >= math.max(1, math.floor(living_workers() / 2))
end

-- Let this worker become empty if tasks have waited too long to run alone. One worker of the queue does that.
local function keep_quiet(by, until_ms)
  if by ~= worker and until_ms > ms then return '' end
  local first = redis.call('ZRANGE', ALONE, 0, 0, 'WITHSCORES')
  if ms - tonumber(first[2]) < QUIET_AFTER_MS then return '' end
  redis.call('HSET', CFG, 'quiet', digits(ms + QUIET_MS) .. '|' .. worker)
  return 'quiet'
end

local claims, jobs, holders, deadlines, deadline = {}, {}, {}, {}, digits(ms + lease_ms)
local token = math.max(tonumber(redis.call('GET', FENCE) or '0') + 1, now, lowest)

local function claim(id, job)
  local n, written = #claims, digits(token)
  claims[n + 1], claims[n + 2] = id, written
  holders[n + 1], holders[n + 2] = id, written .. '|' .. worker
  deadlines[n + 1], deadlines[n + 2] = deadline, id
  jobs[#jobs + 1] = job
  token = token + 1
end

if reserved ~= '' and select(2, holder(reserved)) ~= worker then reserved = '' end
if want > 0 and reserved == '' and redis.call('ZCARD', ALONE) > 0 then
  local until_ms, by = parts(redis.call('HGET', CFG, 'quiet') or '0|')
  local leases = busy and { [worker] = true } or leases_by_worker()
  if leases[worker] then
    reserved = keep_quiet(by, tonumber(until_ms))
  elseif alone_enough(leases) then
    if by == worker then redis.call('HSET', CFG, 'quiet', digits(ms + NOT_QUIET_MS) .. '|') end
  else
    reserved = pop_alone() or ''
    if reserved ~= '' then claim(reserved, redis.call('HGET', JOB, reserved)) end
    if by == worker then redis.call('HDEL', CFG, 'quiet') end
    wake(math.min(1, redis.call('ZCARD', ALONE)))
  end
end
local popped, room = {}, reserved == '' and want or 0
-- All together where only one list has tasks: no other priority can starve.
local count = redis.call('EXISTS', unpack(KEYS, FIRST_READY)) == 1 and room or 1
while #popped < room do
  local ids = pop(turn + 1, count)
  turn = turn + math.max(1, #(ids or {}))
  if not ids then break end
  for _, id in ipairs(ids) do popped[#popped + 1] = id end
end
local known = send('HMGET', JOB, popped)
for i, id in ipairs(popped) do
  -- An id without a job was finished while it stood in the list; it is dropped here. A text that is no id was not
  -- pushed by agentexec: it becomes a dead letter, so that an operator sees it and no worker has to read it.
  if not string.find(id, ID) then
    redis.call('HSETNX', JOB, id, '0')
    dead_letter(id, 'it is not the id of a task')
    foreign[#foreign + 1] = id
  elseif known[i] then
    claim(id, known[i])
  end
end
if #claims > 0 then
  send('HSET', HOLDER, holders)
  send('ZADD', LEASE, deadlines)
  redis.call('SET', FENCE, digits(token - 1))
  redis.call('HSET', CFG, 'turn', digits(turn % TURN))
end
if redis.call('EXISTS', unpack(KEYS, FIRST_READY)) > 0 then wake(1) end

kept = nonce .. '|' .. reserved .. '|' .. cjson.encode({ claims, finishes, requeued, dead })
-- With its first step a worker begins to be one that can be forgotten, whether it has registered or not.
if redis.call('HSET', LAST, worker, kept) == 1 then redis.call('ZADD', SEEN, 'NX', ms, worker) end
return reply(claims, jobs, finishes, requeued, dead, reserved, ms)
