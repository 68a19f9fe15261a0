#!lua flags=allow-oom
-- Note that a slot's failure is over. One that the tick has copied and forgotten meanwhile must not come back as half a record.
-- KEYS: the slot's failure. ARGV: now (epoch seconds)
if redis.call('HEXISTS', KEYS[1], 'first_at') == 1 then
  redis.call('HSET', KEYS[1], 'healed_at', ARGV[1])
end
