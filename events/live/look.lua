-- Who is watched: now, then project and since when, by turns. Forgets those whose time is over.
-- KEYS watched.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {string.format('%.0f', now)}
local marks = redis.call('HGETALL', KEYS[1])
for i = 1, #marks, 2 do
  local ends, since = string.match(marks[i + 1], '^(%d+) (%d+)$')
  if tonumber(ends) >= now then
    found[#found + 1] = marks[i]
    found[#found + 1] = since
  else
    redis.call('HDEL', KEYS[1], marks[i])
  end
end
return found
