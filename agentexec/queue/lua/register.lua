-- Note where a worker runs and that it lives, and forget workers that have been silent for long.
-- KEYS: as common.lua.
-- ARGV: 1 worker, 2 host|pid|start time, 3 ms of silence after which a worker is forgotten.
-- returns: nothing.
local worker, identity, keep_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('ZSCORE', GONE, worker) then return end
local ms = now_ms()
redis.call('HSET', WORKERS, worker, identity)
redis.call('ZADD', SEEN, ms, worker)
-- Workers of an older version do not note that they live.
if redis.call('HLEN', WORKERS) > redis.call('ZCARD', SEEN) then
  for _, name in ipairs(redis.call('HKEYS', WORKERS)) do redis.call('ZADD', SEEN, 'NX', ms, name) end
end
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', SEEN, '-inf', ms - keep_ms)) do forget_worker(silent) end
redis.call('ZREMRANGEBYSCORE', GONE, '-inf', ms - KEEP_GONE_MS)
-- No worker comes after the last one of a queue to forget it.
for _, key in ipairs({ WORKERS, SEEN, LAST }) do redis.call('PEXPIRE', key, keep_ms) end
