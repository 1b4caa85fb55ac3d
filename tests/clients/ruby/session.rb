# Ruby's redis, as an application that keeps vectors uses it. See tests/clients/conftest.py for how it is told where.
require 'redis'

PORT = ENV.fetch('HARCAD_PORT').to_i
KIND = ENV.fetch('HARCAD_KIND')
$failed = 0

def vector(seed) = (0...4096).map { |i| (i + seed * 31 + (i >> 8)) & 0xff }.pack('C*')

def same(expected, got)
  raise "expected #{expected.inspect[0, 200]}, got #{got.inspect[0, 200]}" unless expected == got
end

def refused(words)
  yield
rescue Redis::BaseError => e
  raise "#{e.message} instead of #{words}" unless e.message.match?(words)
else
  raise 'not refused'
end

def step(name)
  yield
  puts "ok #{name}"
rescue StandardError => e
  $failed += 1
  puts "FAILED #{name}: #{e.full_message(highlight: false)}"
end

redis = Redis.new(host: '127.0.0.1', port: PORT, id: 'app')

step('keeps vectors byte for byte') do
  same('app', redis.client(:getname))
  16.times { |i| same('OK', redis.set("vec:#{i}", vector(i))) }
  16.times { |i| same(vector(i), redis.get("vec:#{i}").b) }
  same(nil, redis.mget('vec:3', 'none')[1])
end

step('expires') do
  redis.set('ttl', 'x', ex: 100)
  raise 'too soon' if redis.ttl('ttl') < 90
  same(true, redis.persist('ttl'))
  same(-1, redis.ttl('ttl'))
  same(false, redis.set('ttl', 'y', nx: true))
end

step('pipelines and runs transactions') do
  replies = redis.pipelined { |pipe| 200.times { |i| pipe.set("pipe:#{i}", vector(i)); pipe.get("pipe:#{i}") } }
  same((0...200).flat_map { |i| ['OK', vector(i)] }, replies.map(&:b))
  same(['OK', 2], redis.multi { |tx| tx.set('tx', 1); tx.incr('tx') })
end

step('watches keys, or is told why not') do
  if KIND == 'fleet'
    refused(/WATCH is for daemons without an upstream/) { redis.watch('w') }
  else
    same(nil, redis.watch('w') { redis.set('w', 1); redis.multi { |tx| tx.set('w', 2) } })
    same(['OK'], redis.watch('w') { redis.multi { |tx| tx.set('w', 3) } })
  end
end

step('scans to the end') do
  redis.mset(*(0...500).flat_map { |i| ["scan:#{i}", i] })
  same(500, redis.scan_each(match: 'scan:*', count: 50).to_a.uniq.size)
end

step('gets errors in words, and info') do
  refused(/unknown command/) { redis.call('NOSUCH', 'a') }
  refused(/not an integer/) { redis.incr('vec:1') }
  same('master', redis.info['role'])
end

step('authenticates') do
  at = { host: '127.0.0.1', port: ENV.fetch('HARCAD_AUTH_PORT').to_i }
  refused(/NOAUTH/) { Redis.new(**at).get('a') }
  refused(/WRONGPASS|AUTH/) { Redis.new(**at, password: 'wrong').get('a') }
  same('OK', Redis.new(**at, password: ENV.fetch('HARCAD_PASSWORD')).set('a', 1))
  same('1', Redis.new(**at, username: 'default', password: ENV.fetch('HARCAD_PASSWORD')).get('a'))
end

step('comes back after the daemon has closed the connection') do
  id = redis.client(:id)
  same(1, Redis.new(port: PORT).client(:kill, 'ID', id))
  same(vector(1), redis.get('vec:1').b)
end

step('uses the Unix socket') { same(vector(2), Redis.new(path: ENV.fetch('HARCAD_SOCKET')).get('vec:2').b) }

unless KIND == 'redis'
  step('names models') do
    redis.call('SET', 'emb:e5@v2:17', 'x', 'MODEL', 'minilm')
    same('minilm', redis.call('MODEL', 'OF', 'emb:e5@v2:17'))
    redis.call('CLEAR', 'MODEL', 'minilm')
    same(nil, redis.get('emb:e5@v2:17'))
  end
end

exit($failed.zero? ? 0 : 1)
