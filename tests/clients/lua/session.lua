-- redis-lua, as an application that keeps vectors uses it. See tests/clients/conftest.py for how it is told where.
local redis = require('redis')

local port = tonumber(os.getenv('HARCAD_PORT'))
local failed = 0

local function vector(seed)
	local bytes = {}
	for i = 0, 4095 do
		bytes[i + 1] = string.char((i + seed * 31 + math.floor(i / 256)) % 256)
	end
	return table.concat(bytes)
end

local function same(expected, got)
	if expected ~= got then
		error('expected ' .. tostring(expected) .. ', got ' .. tostring(got), 2)
	end
end

local function refused(words, what)
	local went, why = pcall(what)
	if went or not tostring(why):find(words, 1, true) then
		error('not refused so: ' .. tostring(why), 2)
	end
end

local function step(name, what)
	local went, why = pcall(what)
	if not went then
		failed = failed + 1
	end
	print(went and 'ok ' .. name or 'FAILED ' .. name .. ': ' .. tostring(why))
end

local client = redis.connect('127.0.0.1', port)

step('keeps vectors byte for byte', function()
	same(true, client:ping())
	for i = 0, 15 do client:set('vec:' .. i, vector(i)) end
	for i = 0, 15 do same(vector(i), client:get('vec:' .. i)) end
	same(nil, client:get('none'))
end)

step('expires', function()
	client:setex('ttl', 100, 'x')
	same(true, client:ttl('ttl') > 90)
	same(true, client:persist('ttl'))
end)

step('pipelines and runs transactions', function()
	local replies = client:pipeline(function(pipe)
		for i = 0, 199 do
			pipe:set('pipe:' .. i, vector(i))
			pipe:get('pipe:' .. i)
		end
	end)
	same(400, #replies)
	same(vector(7), replies[16])
	local done = client:transaction(function(tx)
		tx:set('tx', 1)
		tx:incr('tx')
	end)
	same(2, done[2])
end)

step('scans to the end', function()
	local seen, n, cursor = {}, 0, 0
	for i = 0, 499 do client:set('scan:' .. i, i) end
	repeat
		local page = client:scan(cursor, { match = 'scan:*', count = 50 })
		cursor = tonumber(page[1])
		for _, key in ipairs(page[2]) do
			n = n + (seen[key] and 0 or 1)
			seen[key] = true
		end
	until cursor == 0
	same(500, n)
end)

step('gets errors in words, and info', function()
	refused('not an integer', function() client:incr('vec:1') end)
	same('string', type(client:info().replication.role))
end)

step('authenticates', function()
	local locked = redis.connect('127.0.0.1', tonumber(os.getenv('HARCAD_AUTH_PORT')))
	refused('NOAUTH', function() locked:get('a') end)
	refused('WRONGPASS', function() locked:auth('wrong') end)
	same(true, locked:auth(os.getenv('HARCAD_PASSWORD')))
	same(true, locked:set('a', 1))
end)

step('uses the Unix socket', function()
	same(vector(1), redis.connect('unix://' .. os.getenv('HARCAD_SOCKET')):get('vec:1'))
end)

if os.getenv('HARCAD_KIND') ~= 'redis' then
	redis.commands.clear = redis.command('CLEAR')
	redis.commands.model = redis.command('MODEL')

	step('names models', function()
		local own = redis.connect('127.0.0.1', port)
		own:model('USE', 'minilm')
		own:set('m', 'x')
		same('minilm', own:model('OF', 'm'))
		own:clear('MODEL', 'minilm')
		same(nil, client:get('m'))
	end)
end

os.exit(failed == 0 and 0 or 1)
