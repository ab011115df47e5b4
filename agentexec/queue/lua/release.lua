-- Give leases back before they expire: all of a dead worker's, or the named ones of a live worker.
-- KEYS: as common.lua.
-- ARGV: 1 worker, 2 whether each counts as a crash (1 | 0), 3 max crashes, 4 whether the worker is declared dead (1 | 0),
--       then for each lease: id, token. With none named, all that the worker holds.
-- returns: {released {id, lost token, ...}, dead {id, lost token, ...}}; a lease that is no longer this worker's is left out.
local worker, charge, max_crashes, declare = ARGV[1], ARGV[2] == '1', agreed('max_crashes', ARGV[3]), ARGV[4] == '1'
local KEEP_GONE_MS = 24 * 3600 * 1000
local ms = now_ms()

local wanted = {}
if #ARGV > 4 then
  for i = 5, #ARGV, 2 do wanted[#wanted + 1] = { ARGV[i], ARGV[i + 1] } end
else
  for _, member in ipairs(redis.call('ZRANGEBYLEX', HELD, '[' .. worker .. '|', '[' .. worker .. '|\255')) do
    wanted[#wanted + 1] = { string.sub(member, #worker + 2), nil }
  end
  -- HELD is in the order of the ids; the order of the claims is that of the tokens.
  local claimed = {}
  for _, lease in ipairs(wanted) do claimed[lease[1]] = tonumber(holder(lease[1]) or '0') end
  table.sort(wanted, function(a, b) return claimed[a[1]] < claimed[b[1]] end)
end

local released, dead, back = {}, {}, 0
-- Backwards, since each goes to the front of its list: what was claimed first is first again.
for i = #wanted, 1, -1 do
  local id, expected = wanted[i][1], wanted[i][2]
  local token, by = holder(id)
  if token and by == worker and (expected == nil or expected == token) then
    revoke(id, by)
    local alive = give_back(id, charge, max_crashes, ms)
    if alive then back = back + 1 end
    local into = alive and released or dead
    into[#into + 1] = id
    into[#into + 1] = token
  end
end
if declare then
  redis.call('HDEL', LAST, worker)
  redis.call('HDEL', WORKERS, worker)
  redis.call('ZADD', GONE, ms, worker)
  redis.call('ZREMRANGEBYSCORE', GONE, '-inf', ms - KEEP_GONE_MS)
end
wake(back)
return { released, dead }
