-- Take what was counted since the last time, or once more what was taken and perhaps not kept.
-- KEYS: counts, examples, taken counts, taken examples; ARGV: a token for this taking
-- Returns {counts, examples}, each as pairs; the counts hold the token of their taking under the empty name
if redis.call('EXISTS', KEYS[3]) == 0 then
  if redis.call('EXISTS', KEYS[1]) == 0 then return {{}, {}} end
  redis.call('RENAME', KEYS[1], KEYS[3])
  redis.call('RENAME', KEYS[2], KEYS[4])
  redis.call('HSET', KEYS[3], '', ARGV[1])
end
return {redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4])}
