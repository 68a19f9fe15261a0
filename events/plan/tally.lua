-- Count events that did not follow their plan, and keep the last example of each kind. Bounded, while nobody copies them.
-- KEYS: counts, examples; ARGV: the most kinds to keep, then for each kind: its name, events, example
local most = tonumber(ARGV[1])
for i = 2, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 or redis.call('HLEN', KEYS[1]) < most then
    redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2])
  end
end
