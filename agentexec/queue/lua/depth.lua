-- Count the tasks of each state at one moment. A transaction would do, but a server at its maxmemory refuses each one.
-- KEYS: as common.lua.
-- ARGV: none.
-- returns: {ready, leased, scheduled, parked, dead, known}.
local ready = redis.call('ZCARD', ALONE)
for k = FIRST_READY, #KEYS do ready = ready + redis.call('LLEN', KEYS[k]) end
local counts = { ready }
for _, states in ipairs({ LEASE, SCHED, PARKED, DLQ }) do counts[#counts + 1] = redis.call('ZCARD', states) end
counts[#counts + 1] = redis.call('HLEN', JOB)
return counts
