-- Dispatch a batch of recorded tasks. Replay-safe: an id the queue already knows is left as it is.
-- KEYS: as common.lua.
-- ARGV: 1 depth cap (0 = none), 2 whether this is the healing (1 | 0),
--       then for each task: id, priority level, delay in ms, partition (empty = none), payload.
-- returns: one integer per task, 1 = the queue has it, 0 = no room, 2 = not now. Once one finds no room, all later ones
--          of the batch do too, so that order is kept. A queue that has lost its memory takes tasks with a partition
--          only from the healing, which brings back those first that may still be running.
local cap, healing = tonumber(ARGV[1]), ARGV[2] == '1'
local rebuilt = redis.call('HEXISTS', CFG, 'epoch') == 1
local answers, pushed, full = {}, 0, false
-- Dead letters take no room: no running pool drains them, and they would keep the living out for ever.
local depth = cap > 0 and redis.call('HLEN', JOB) - redis.call('ZCARD', DLQ) or 0
for i = 3, #ARGV, 5 do
  local id, level, delay, partition, payload = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4]
  if redis.call('HEXISTS', JOB, id) == 1 then
    answers[#answers + 1] = 1
  elseif partition ~= '' and not rebuilt and not healing then
    answers[#answers + 1] = 2
  elseif full or (cap > 0 and depth >= cap) then
    full = true
    answers[#answers + 1] = 0
  else
    redis.call('HSET', JOB, id, level .. payload)
    if partition ~= '' then redis.call('HSET', PART, id, partition) end
    if delay > 0 then
      redis.call('ZADD', SCHED, now_ms() + delay, id) -- takes its partition when it is due, not before
    elseif partition == '' then
      redis.call('RPUSH', list_of(tonumber(level)), id)
      pushed = pushed + 1
    elseif admit(id, false) then
      pushed = pushed + 1
    end
    depth = depth + 1
    answers[#answers + 1] = 1
  end
end
wake(pushed)
return answers
