-- One step of SCAN that passes over what is there but not valid any more.
-- KEYS[1] the state hash; ARGV cursor, pattern, count, type ('' any).
-- Returns {cursor, key, kind, key, kind, …} with kind f (a valid framed value), r (raw: the caller knows its
-- model) or o (of another type).
local command = {'SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3]}
if ARGV[4] ~= '' then
	command[7], command[8] = 'TYPE', ARGV[4]
end
local page = redis.call(unpack(command))
local inc = tonumber(redis.call('HGET', KEYS[1], 'inc')) or 0

local found = {page[1]}
for _, key in ipairs(page[2]) do
	local start, kind = beginning(key), 'r'
	if type(start) == 'table' then
		kind = 'o'
	else
		local model, frame_inc, epoch = frame_of(start)
		if model then
			kind = frame_inc == inc and epoch == epoch_of(model) and 'f' or nil
		end
	end
	if kind then
		found[#found + 1] = key
		found[#found + 1] = kind
	end
end
return found
