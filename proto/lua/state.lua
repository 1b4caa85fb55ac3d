-- The fleet's state at this node, made when there is none.
-- KEYS[1] the state hash; ARGV[1] a new incarnation in case there is none; then model, epoch, model, epoch, … as the caller knows them:
-- an epoch never goes back, even if the server lost it. Returns the hash as field, value, …
--
-- It reads before it writes, and does without the epochs where they cannot be written: a server that takes no writes at
-- present (a replica, one without its replicas or its disk) has values to read all the same. A server out of memory lets
-- a script write on that has written something else.
local state = KEYS[1]
local writing = false

local function write(...)
	if not writing then
		redis.call('HDEL', state, '')
		writing = true
	end
	redis.call(...)
end

local function raise(field, epoch)
	if tonumber(epoch) > (tonumber(redis.call('HGET', state, field)) or 0) then
		write('HSET', state, field, epoch)
		write('HINCRBY', state, 'clears', 1) -- what this makes invisible is to be swept
	end
end

if not redis.call('HGET', state, 'inc') then
	write('HSET', state, 'inc', ARGV[1])
end
for i = 2, #ARGV - 1, 2 do
	if not pcall(raise, 'm:' .. ARGV[i], ARGV[i + 1]) then
		break
	end
end
return redis.call('HGETALL', state)
