-- Extend leases. Only the present holder can: a lease that was revoked stays lost.
-- KEYS: as common.lua.
-- ARGV: 1 worker, 2 lease in ms, then for each lease: id, token.
-- returns: {lost ids, ids to be canceled}; every id is lost for a worker that was declared dead.
local worker, lease_ms = ARGV[1], tonumber(ARGV[2])
local gone = redis.call('ZSCORE', GONE, worker)
local deadline = now_ms() + lease_ms
local lost, canceled = {}, {}
for i = 3, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  if gone or holder(id) ~= token then
    lost[#lost + 1] = id
  else
    redis.call('ZADD', LEASE, deadline, id)
    if redis.call('HEXISTS', CANCEL, id) == 1 then canceled[#canceled + 1] = id end
  end
end
return { lost, canceled }
