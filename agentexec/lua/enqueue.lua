-- Dispatch a batch of recorded tasks. Replay-safe: an id the queue already knows is left as it is.
-- KEYS: as common.lua.
-- ARGV: 1 depth cap (0 = none), then for each task: id, priority level, delay in ms, payload.
-- returns: one integer per task, 1 = the queue has it, 0 = no room; once one finds no room, all later ones of the
--          batch do too, so that order is kept.
local cap = tonumber(ARGV[1])
local answers, pushed, full = {}, 0, false
-- Dead letters take no room: no running pool drains them, and they would keep the living out for ever.
local depth = cap > 0 and redis.call('HLEN', JOB) - redis.call('ZCARD', DLQ) or 0
for i = 2, #ARGV, 4 do
  local id, level, delay, payload = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  if redis.call('HEXISTS', JOB, id) == 1 then
    answers[#answers + 1] = 1
  elseif full or (cap > 0 and depth >= cap) then
    full = true
    answers[#answers + 1] = 0
  else
    redis.call('HSET', JOB, id, level .. payload)
    if delay > 0 then
      redis.call('ZADD', SCHED, now_ms() + delay, id)
    else
      redis.call('RPUSH', KEYS[FIRST_READY + tonumber(level)], id)
      pushed = pushed + 1
    end
    depth = depth + 1
    answers[#answers + 1] = 1
  end
end
wake(pushed)
return answers
