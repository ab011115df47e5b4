-- Revoke leases before they expire: all leases of a dead worker, or the named ones of a live worker ('': of any).
-- KEYS: as common.lua.
-- ARGV: 1 worker, 2 whether it crashed (0 | 1 | 2 = before any of its handlers began): a lease is charged if it is the
--       only one of the worker,
--       3 max crashes (if the pools have agreed on none),
--       4 whether the worker is declared dead (1 | 0), then for each lease: id, token. With none named, all leases of
--       the worker.
-- returns: {requeued {id, lost token, ...}, dead {id, lost token, ...}}, without leases that the worker does not have.
local worker, charge, max_crashes = ARGV[1], ARGV[2] ~= '0', agreed('max_crashes', ARGV[3])
local declare_gone = ARGV[4] == '1'

local wanted = {}
for i = 5, #ARGV, 2 do wanted[#wanted + 1] = { ARGV[i], ARGV[i + 1] } end
local all = (charge or #wanted == 0) and leases_by_worker()[worker] or {}
if #wanted == 0 then
  wanted = all
  -- The order of the claims is the order of their tokens.
  table.sort(wanted, function(a, b) return tonumber(a[2]) < tonumber(b[2]) end)
end

local requeued, dead, ready = {}, {}, 0
-- Backwards, since each goes to the front of its list: the first claim is first again.
for i = #wanted, 1, -1 do
  local id, expected = wanted[i][1], wanted[i][2]
  local token, by = holder(id)
  if token == expected and (by == worker or worker == '') then
    if charge then share_death(all, ARGV[2] == '1') end
    all = {} -- it is noted
    revoke(id)
    local alive = requeue(id, token, charge, max_crashes)
    if alive then ready = ready + 1 end
    local into = alive and requeued or dead
    into[#into + 1], into[#into + 2] = id, token
  end
end
if declare_gone then
  forget_worker(worker)
  redis.call('ZADD', GONE, now_ms(), worker)
  redis.call('ZREMRANGEBYSCORE', GONE, '-inf', now_ms() - KEEP_GONE_MS)
  redis.call('PEXPIRE', GONE, KEEP_GONE_MS)
end
wake(ready)
return { requeued, dead }
