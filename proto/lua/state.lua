-- The fleet's state at this node, made when there is none.
-- KEYS[1] the state hash; ARGV[1] a new incarnation in case there is none; then model, epoch, model, epoch, … as the caller knows them:
-- an epoch never goes back, even if the server lost it. Returns the hash as field, value, …
redis.call('HSETNX', KEYS[1], 'inc', ARGV[1])
for i = 2, #ARGV - 1, 2 do
	local field = 'm:' .. ARGV[i]
	if tonumber(ARGV[i + 1]) > (tonumber(redis.call('HGET', KEYS[1], field)) or 0) then
		redis.call('HSET', KEYS[1], field, ARGV[i + 1])
		redis.call('HINCRBY', KEYS[1], 'clears', 1) -- what this makes invisible is to be swept
	end
end
return redis.call('HGETALL', KEYS[1])
