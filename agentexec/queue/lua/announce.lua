-- Note that a live pool knows tasks, each by its name and the fingerprint of the model of its context.
-- KEYS: as common.lua.
-- ARGV: fingerprint|name of each task.
-- returns: nothing.
local KEEP_NAMES_MS = 24 * 3600 * 1000
local ms, new = now_ms(), 0
for i = 1, #ARGV do new = new + redis.call('HSET', NAMES, ARGV[i], digits(ms)) end
local known = redis.call('HGETALL', NAMES)
for i = 1, #known, 2 do
  if tonumber(known[i + 1]) < ms - KEEP_NAMES_MS then redis.call('HDEL', NAMES, known[i]) end
end
-- A day after the last pool ended, nothing is left of its tasks.
redis.call('PEXPIRE', NAMES, KEEP_NAMES_MS)
-- Workers look which tasks have several fingerprints when this value changes.
if new > 0 then redis.call('HSET', CFG, 'names', digits(now_us())) end
