-- What a process does not know of the plans yet, in one look.
-- KEYS: version, revisions, documents; ARGV: the version it knows, a project, the revision of it that it has ('': none)
-- Returns {version, all revisions or '' where the version is the same, the project's revision, its document or ''}
local version = redis.call('GET', KEYS[1]) or ''
local revisions = ''
if version ~= ARGV[1] then revisions = redis.call('HGETALL', KEYS[2]) end
local revision = redis.call('HGET', KEYS[2], ARGV[2]) or ''
local document = ''
if revision ~= ARGV[3] then document = redis.call('HGET', KEYS[3], ARGV[2]) or '' end
return {version, revisions, revision, document}
