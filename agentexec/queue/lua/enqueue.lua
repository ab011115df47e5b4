-- Dispatch a batch of recorded tasks. Replay-safe: an id that the queue knows is left as it is.
-- KEYS: as common.lua.
-- ARGV: 1 depth cap (0 = none), 2 whether the reconciler sends them (1 | 0),
--       then for each task: id, place (empty = ready at once, else delay in ms | partition or nothing),
--       priority digit + payload.
-- returns: one integer per task, 1 = the queue has it, 0 = no room, 2 = not now. After the first without room all later
--          ones of the batch have none either, so that order is kept. A queue that lost its contents takes tasks with a
--          partition only from the reconciler, which first brings back those that may still be running.
local cap, from_reconciler = tonumber(ARGV[1]), ARGV[2] == '1'
local rebuilt = redis.call('HEXISTS', CFG, 'epoch') == 1
local answers, pushed, full = {}, 0, false
-- Dead letters take no room: running pools do not remove them, and they would block the queue for ever.
local depth = cap > 0 and redis.call('HLEN', JOB) - redis.call('ZCARD', DLQ) or 0
-- All are looked up together, and those that are ready at once are written together, not with a call for each.
local ids, known, jobs, waiting = {}, {}, {}, {}
for i = 3, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
for i, job in ipairs(send('HMGET', JOB, ids)) do known[ids[i]] = job end

local function write_waiting()
  send('HSET', JOB, jobs)
  for list, ready in pairs(waiting) do send('RPUSH', list, ready) end
  jobs, waiting = {}, {}
end

for i = 3, #ARGV, 3 do
  local id, where, leveled = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local bar = string.find(where, '|', 1, true)
  local delay = bar and tonumber(string.sub(where, 1, bar - 1)) or 0
  local partition = bar and string.sub(where, bar + 1) or ''
  if known[id] then
    answers[#answers + 1] = 1
  elseif partition ~= '' and not rebuilt and not from_reconciler then
    answers[#answers + 1] = 2
  elseif full or (cap > 0 and depth >= cap) then
    full = true
    answers[#answers + 1] = 0
  else
    known[id], depth, answers[#answers + 1] = true, depth + 1, 1
    jobs[#jobs + 1], jobs[#jobs + 2] = id, leveled
    if partition ~= '' then redis.call('HSET', PART, id, partition) end
    if delay > 0 then -- it enters its partition when it falls due, not before
      redis.call('ZADD', SCHED, now_ms() + delay, id)
    elseif partition == '' then
      local list = ready_list(leveled)
      waiting[list] = waiting[list] or {}
      table.insert(waiting[list], id)
      pushed = pushed + 1
    else
      write_waiting()
      if admit(id, false) then pushed = pushed + 1 end
    end
  end
end
write_waiting()
wake(pushed)
return answers
