-- One step of SCAN that passes over what is there but not valid any more.
-- KEYS[1] the state hash; ARGV cursor, pattern, count, type ('' any).
-- Returns {cursor, key, kind, key, kind, …} with kind f (a valid framed value), r (raw: the caller knows its
-- model) or o (of another type).
local MAGIC = '\245hc\1'
local command = {'SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3]}
if ARGV[4] ~= '' then
	command[7], command[8] = 'TYPE', ARGV[4]
end
local page = redis.call(unpack(command))
local inc = tonumber(redis.call('HGET', KEYS[1], 'inc')) or 0
local epochs = {}
local function epoch_of(model)
	if model == '' then
		model = 'default'
	end
	if not epochs[model] then
		epochs[model] = tonumber(redis.call('HGET', KEYS[1], 'm:' .. model)) or 0
	end
	return epochs[model]
end

local found = {page[1]}
for _, key in ipairs(page[2]) do
	local start, kind = redis.pcall('GETRANGE', key, 0, 286), 'r'
	if type(start) == 'table' then
		kind = 'o'
	elseif #start >= 32 and string.sub(start, 1, 4) == MAGIC then
		local _, _, model_len, _, frame_inc, epoch = struct.unpack('<BBHI8I4I4', start, 5)
		local live = frame_inc == inc and epoch == epoch_of(string.sub(start, 33, 32 + model_len))
		kind = live and 'f' or nil
	end
	if kind then
		found[#found + 1] = key
		found[#found + 1] = kind
	end
end
return found
