-- The fleet's state at this node, made when there is none.
-- KEYS[1] the state hash; ARGV[1] a new incarnation in case there is none. Returns the hash as field, value, …
redis.call('HSETNX', KEYS[1], 'inc', ARGV[1])
return redis.call('HGETALL', KEYS[1])
