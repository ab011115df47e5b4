-- One round trip of a worker: finish what ended, promote what is due, reap what expired, claim for the free slots.
-- Replay-safe: with the nonce of the previous call the previous reply is given again and nothing changes. Claims that
-- were taken back since are left out: their tasks may be somebody else's by now, or wait behind their lock key.
-- KEYS: as common.lua.
-- ARGV: 1 worker, 2 nonce, 3 lease in ms, 4 how many to claim, 5 lowest token to give, 6 max crashes
--       (where the pools have agreed on none),
--       then for each finish: id, token, verb (done | retry | yield | dead), argument (retry, yield: delay in ms; dead: reason).
-- returns: {'GONE'} for a worker that was declared dead, else
--          {'OK', ms until the next scheduled task or expiry (-1 = none), ready tasks left,
--           claims {id, token, crashes, 1 for one with a partition, priority digit + payload, ...}, finishes {1 accepted | 0 stale, ...},
--           reaped {id, lost token, ...}, dead {id, lost token, ...}}.
local worker, nonce, lease_ms, want = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local lowest, max_crashes = tonumber(ARGV[5]), agreed('max_crashes', ARGV[6])
local REAP_AT_ONCE, PROMOTE_AT_ONCE, TURN = 64, 64, 8

if redis.call('ZSCORE', GONE, worker) then return { 'GONE' } end

local function ready_left()
  local left = 0
  for k = FIRST_READY, #KEYS do left = left + redis.call('LLEN', KEYS[k]) end
  return left
end

local function reply(claims, finishes, reaped, dead, now)
  local due = -1
  for _, key in ipairs({ SCHED, LEASE }) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] then
      local wait = math.max(0, tonumber(first[2]) - now)
      if due < 0 or wait < due then due = wait end
    end
  end
  local with_payload = {}
  for i = 1, #claims, 3 do
    local n = #with_payload
    with_payload[n + 1], with_payload[n + 2], with_payload[n + 3] = claims[i], claims[i + 1], claims[i + 2]
    with_payload[n + 4] = redis.call('HEXISTS', PART, claims[i])
    with_payload[n + 5] = redis.call('HGET', JOB, claims[i]) or ''
  end
  return { 'OK', due, ready_left(), with_payload, finishes, reaped, dead }
end

local function still_held(claims)
  local held = {}
  for i = 1, #claims, 3 do
    local token, by = holder(claims[i])
    if token == claims[i + 1] and by == worker then
      for k = i, i + 2 do held[#held + 1] = claims[k] end
    end
  end
  return held
end

local now = now_us()
local ms = math.floor(now / 1000)

local last = redis.call('HGET', LAST, worker)
if last then
  local old = cjson.decode(last)
  if old[1] == nonce then return reply(still_held(old[2]), old[3], old[4], old[5], ms) end
end

local finishes = {}
for i = 7, #ARGV, 4 do
  local id, token, verb, argument = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local held, by = holder(id)
  if held ~= token then
    finishes[#finishes + 1] = 0
  else
    revoke(id, by)
    if verb == 'done' then
      forget(id)
    elseif verb == 'retry' or verb == 'yield' then
      if verb == 'yield' then step_aside(id) end
      redis.call('HDEL', CANCEL, id)
      redis.call('ZADD', SCHED, ms + tonumber(argument), id)
    else
      bury(id, argument, ms)
    end
    finishes[#finishes + 1] = 1
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', SCHED, '-inf', ms, 'LIMIT', 0, PROMOTE_AT_ONCE)) do
  admit(id, false)
  redis.call('ZREM', SCHED, id)
end

local reaped, dead = {}, {}
local expired = redis.call('ZRANGEBYSCORE', LEASE, '-inf', ms, 'LIMIT', 0, REAP_AT_ONCE)
-- Backwards, since each goes to the front of its list: what expired first is first again.
for i = #expired, 1, -1 do
  local id = expired[i]
  local token, by = holder(id)
  revoke(id, by)
  local into = give_back(id, true, max_crashes, ms) and reaped or dead
  into[#into + 1] = id
  into[#into + 1] = token or '0'
end

-- Every TURN-th claim is made from the lowest priority upwards, so that no priority starves.
local function pop(turn)
  local from, to, by = FIRST_READY, #KEYS, 1
  if turn % TURN == 0 then from, to, by = #KEYS, FIRST_READY, -1 end
  for k = from, to, by do
    local id = redis.call('LPOP', KEYS[k])
    if id then return id end
  end
  return nil
end

-- As the workers write it: under any other spelling of a UUID they would read the task, and finish another.
local HEX = '[0-9a-f]'
local ID = '^' .. HEX:rep(8) .. ('%-' .. HEX:rep(4)):rep(3) .. '%-' .. HEX:rep(12) .. '$'

local function is_id(text)
  return string.find(text, ID) ~= nil
end

local claims = {}
local turn = tonumber(redis.call('HGET', CFG, 'turn') or '0')
local token = math.max(tonumber(redis.call('GET', FENCE) or '0') + 1, now, lowest)
for _ = 1, want do
  turn = turn + 1
  local id = pop(turn)
  if not id then break end
  -- An id without a job was finished by somebody while it stood in the list; it is dropped here. What is not an id at
  -- all was pushed by nobody of ours: it is kept where people look for trouble, and no worker has to read it.
  if not is_id(id) then
    redis.call('HSETNX', JOB, id, '0')
    bury(id, 'it is not the id of a task', ms)
  elseif redis.call('HEXISTS', JOB, id) == 1 then
    redis.call('HSET', OWN, id, digits(token) .. '|' .. worker)
    redis.call('ZADD', LEASE, ms + lease_ms, id)
    redis.call('ZADD', HELD, 0, worker .. '|' .. id)
    claims[#claims + 1] = id
    claims[#claims + 1] = digits(token)
    claims[#claims + 1] = redis.call('HGET', CRASH, id) or '0'
    token = token + 1
  end
end
if #claims > 0 then
  redis.call('SET', FENCE, digits(token - 1))
  redis.call('HSET', CFG, 'turn', digits(turn % TURN))
end
if ready_left() > 0 then wake(1) end

redis.call('HSET', LAST, worker, cjson.encode({ nonce, claims, finishes, reaped, dead }))
return reply(claims, finishes, reaped, dead, ms)
