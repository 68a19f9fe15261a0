#!lua flags=allow-oom
-- Delete stored entries; only the call that really deletes one subtracts it, so counters end at 0 whoever comes twice.
-- KEYS: stream, depth, progress, the slot's work, crashes, window, paused, leave to bury
-- ARGV: group, now (epoch ms), events of the batch, those that failed as data, their projects (space between), ids ...
-- Returns {how many this call deleted, 1 if entries wait that no slot has claimed}
local deleted, events = 0, 0
for i = 6, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  if entry and redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    local project, n, size, hour = entry[2][4], tonumber(entry[2][6]), tonumber(entry[2][8]), math.floor(tonumber(entry[2][10]) / 3600000)
    redis.call('HINCRBY', KEYS[2], 'n', -1)
    redis.call('HINCRBY', KEYS[2], 'e', -n)
    redis.call('HINCRBY', KEYS[2], 'b', -size)
    for _, field in ipairs({'e:' .. project, 'q:' .. project .. ':' .. string.format('%d', hour)}) do
      if redis.call('HINCRBY', KEYS[2], field, -n) <= 0 then redis.call('HDEL', KEYS[2], field) end
    end
    deleted, events = deleted + 1, events + n
  end
  redis.call('HDEL', KEYS[5], ARGV[i])
end
redis.call('DEL', KEYS[4])
redis.call('HINCRBY', KEYS[2], 'drained', events)
redis.call('SET', KEYS[3], ARGV[2])

-- The breaker: when half of the last 1,000 events failed as data, in two projects or more, the code is wrong, not the data.
if ARGV[4] ~= '0' or redis.call('EXISTS', KEYS[6]) == 1 then
  redis.call('LPUSH', KEYS[6], ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
  local seen, dead, projects, several, kept = 0, 0, {}, 0, 0
  for _, batch in ipairs(redis.call('LRANGE', KEYS[6], 0, -1)) do
    local n, d, names = string.match(batch, '^(%d+) (%d+) ?(.*)$')
    kept, seen, dead = kept + 1, seen + tonumber(n), dead + tonumber(d)
    for name in string.gmatch(names, '%S+') do
      if not projects[name] then projects[name], several = true, several + 1 end
    end
    if seen >= 1000 then break end
  end
  redis.call('LTRIM', KEYS[6], 0, kept - 1)
  if dead == 0 then
    redis.call('DEL', KEYS[6])
  elseif dead >= 500 and several >= 2 and redis.call('EXISTS', KEYS[8]) == 0 then
    redis.call('SET', KEYS[7], dead .. ' of the last ' .. seen .. ' events failed as data, in ' .. several .. ' projects')
  end
end

-- Looked at now and not at the claim: a ring that came while the slot was busy has woken nobody.
local delivered
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local field = {}
  for i = 1, #info, 2 do field[info[i]] = info[i + 1] end
  if field['name'] == ARGV[1] then delivered = field['last-delivered-id'] end
end
local waits = delivered and #redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)
return {deleted, waits or 0}
