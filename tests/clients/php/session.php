<?php
// phpredis, as an application that keeps vectors uses it. See tests/clients/conftest.py for how it is told where.
declare(strict_types=1);

const HOST = '127.0.0.1';
define('PORT', (int)getenv('HARCAD_PORT'));
define('ON_REDIS', getenv('HARCAD_KIND') === 'redis');
define('CAN_WATCH', getenv('HARCAD_KIND') !== 'fleet');

function vector(int $seed): string
{
    $bytes = '';
    for ($i = 0; $i < 4096; $i++) {
        $bytes .= chr(($i + $seed * 31 + ($i >> 8)) & 0xff);
    }
    return $bytes;
}

function same($expected, $got): void
{
    if ($expected !== $got) {
        throw new Exception('expected ' . substr(var_export($expected, true), 0, 300) . ', got ' . substr(var_export($got, true), 0, 300));
    }
}

function until(callable $what): void
{
    for ($i = 0; $i < 1000; $i++) {
        if ($what()) {
            return;
        }
        usleep(10_000);
    }
    throw new Exception('not within 10 s');
}

/** Connected; with that password, or user and password, when one is given. */
function client(int $port = PORT, $auth = null): Redis
{
    $client = new Redis();
    $client->connect(HOST, $port, 5, null, 0, 10);
    if ($auth !== null) {
        $client->auth($auth);
    }
    return $client;
}

$failed = 0;
function step(string $name, callable $what): void
{
    global $failed;
    try {
        $what();
        echo "ok $name\n";
    } catch (Throwable $error) {
        $failed++;
        echo "FAILED $name: $error\n";
    }
}

$redis = client();

step('shakes hands', function () use ($redis) {
    same(true, $redis->ping());
    same('hello', $redis->ping('hello'));
    same(true, $redis->client('SETNAME', 'app'));
    same('app', $redis->client('GETNAME'));
    same(true, $redis->select(0));
});

step('keeps vectors byte for byte', function () use ($redis) {
    for ($i = 0; $i < 16; $i++) {
        same(true, $redis->set("vec:$i", vector($i)));
    }
    for ($i = 0; $i < 16; $i++) {
        same(vector($i), $redis->get("vec:$i"));
    }
    same([vector(3), false, vector(5)], $redis->mGet(['vec:3', 'vec:none', 'vec:5']));
    same(true, $redis->mSet(["a\r\n\0\xff" => '1', 'b' => '2']));
    same('1', $redis->get("a\r\n\0\xff"));
    same(4096, $redis->strlen('vec:3'));
    same(false, $redis->get('vec:none'));
});

step('expires', function () use ($redis) {
    same(true, $redis->set('ttl:a', 'x', ['ex' => 100]));
    same(true, $redis->ttl('ttl:a') > 90);
    same(true, $redis->setex('ttl:b', 50, 'x'));
    same(true, $redis->pExpire('ttl:b', 90_000));
    same(true, $redis->pttl('ttl:b') > 80_000);
    same(true, $redis->persist('ttl:b'));
    same(-1, $redis->ttl('ttl:b'));
    same(true, $redis->psetex('ttl:c', 30, 'x'));
    until(fn () => $redis->get('ttl:c') === false);
    same(false, $redis->set('ttl:a', 'z', ['nx', 'ex' => 9]));
    same(true, $redis->setnx('ttl:d', '1'));
});

step('pipelines', function () use ($redis) {
    $pipe = $redis->pipeline();
    for ($i = 0; $i < 500; $i++) {
        $pipe->set("pipe:$i", vector($i))->get("pipe:$i");
    }
    $replies = $pipe->exec();
    same(1000, count($replies));
    for ($i = 0; $i < 500; $i++) {
        same([true, vector($i)], [$replies[2 * $i], $replies[2 * $i + 1]]);
    }
});

step('runs transactions', function () use ($redis) {
    same([true, 2, '2'], $redis->multi()->set('tx', '1')->incr('tx')->get('tx')->exec());
    $redis->multi()->set('tx', '9');
    same(true, $redis->discard());
    same('2', $redis->get('tx'));
    same(3.5, $redis->incrByFloat('tx', 1.5));
});

step('watches keys, or is told why not', function () use ($redis) {
    $other = client();
    if (!CAN_WATCH) {
        $redis->clearLastError();
        same(false, $redis->watch('watch'));
        same(true, str_contains($redis->getLastError(), 'WATCH is for daemons without an upstream'));
        return;
    }
    same(true, $redis->watch('watch'));
    $other->set('watch', '1');
    same(false, $redis->multi()->set('watch', '2')->exec());
    same(true, $redis->watch(['watch', 'tx']));
    same([true], $redis->multi()->set('watch', '3')->exec());
    same(true, $redis->unwatch());
});

step('scans to the end', function () use ($redis) {
    for ($i = 0; $i < 1000; $i++) {
        $writes["scan:$i"] = (string)$i;
    }
    $redis->mSet($writes);
    $redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
    $seen = [];
    $cursor = null;
    while (($keys = $redis->scan($cursor, 'scan:*', 100)) !== false) {
        $seen = array_merge($seen, $keys);
    }
    same(1000, count(array_unique($seen)));
    same(11, count($redis->keys('scan:99*')));
    same(1000, $redis->del(array_unique($seen)));
});

step('gets errors in words', function () use ($redis) {
    $redis->clearLastError();
    same(false, $redis->rawCommand('NOSUCH', 'a'));
    same("ERR unknown command 'NOSUCH', with args beginning with: 'a' ", $redis->getLastError());
    $redis->rawCommand('GET');
    same("ERR wrong number of arguments for 'get' command", $redis->getLastError());
    $redis->set('text', 'x');
    same(false, $redis->incr('text'));
    // This phpredis has a NUL behind it at times, with Redis too.
    same('ERR value is not an integer or out of range', rtrim($redis->getLastError(), "\0"));
    if (!ON_REDIS) {
        $redis->clearLastError();
        same(false, $redis->eval('return 1'));
        same(true, str_contains((string)$redis->getLastError(), 'unknown command') || str_contains((string)$redis->getLastError(), 'not passed on'));
    }
    same(true, $redis->ping());
});

step('keeps what its serializer makes, and prefixes', function () use ($redis) {
    $own = client();
    $own->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
    $own->setOption(Redis::OPT_PREFIX, 'php:');
    $answer = ['tokens' => [1, 2, 3], 'text' => "gr\xc3\xbc\xc3\x9fe"];
    same(true, $own->set('answer', $answer));
    same($answer, $own->get('answer'));
    same(serialize($answer), $redis->get('php:answer'));
});

step('authenticates', function () {
    $port = (int)getenv('HARCAD_AUTH_PORT');
    try {
        $none = client($port);
        $got = $none->get('a');
        throw new Exception('let in: ' . var_export($got, true));
    } catch (RedisException $error) {
        same(true, str_contains($error->getMessage(), 'NOAUTH'));
    }
    foreach ([getenv('HARCAD_PASSWORD'), ['default', getenv('HARCAD_PASSWORD')]] as $auth) {
        same(true, client($port, $auth)->set('a', '1'));
    }
    try {
        client($port, 'wrong')->get('a');
        throw new Exception('let in');
    } catch (RedisException $error) {
        same(true, (bool)preg_match('/WRONGPASS|NOAUTH/', $error->getMessage()));
    }
});

step('comes back after the daemon has closed the connection', function () use ($redis) {
    $redis->set('kept', vector(1));
    $id = $redis->client('ID');
    same(1, client()->rawCommand('CLIENT', 'KILL', 'ID', (string)$id));
    until(function () use ($redis) { // the end of the connection may come after the request
        try {
            return $redis->get('kept') === vector(1);
        } catch (RedisException $error) {
            return false;
        }
    });
    same(true, $redis->client('ID') !== $id);
});

step('stays connected over requests', function () {
    for ($i = 0; $i < 3; $i++) {
        $lasting = new Redis();
        same(true, $lasting->pconnect(HOST, PORT, 5, 'app'));
        same(true, $lasting->set('lasting', (string)$i));
        $lasting->close();
    }
});

step('uses the Unix socket', function () {
    $near = new Redis();
    same(true, $near->connect(getenv('HARCAD_SOCKET')));
    same(vector(2), $near->get('vec:2'));
});

step('tells what operators ask', function () use ($redis) {
    same(true, (int)$redis->info()['used_memory'] > 0);
    same('master', $redis->info()['role']);
    same(true, $redis->dbSize() > 100);
    same(true, is_array($redis->config('GET', 'maxmemory')));
    same(true, count($redis->client('LIST')) > 0);
    same('raw', $redis->object('encoding', 'vec:1'));
    same(Redis::REDIS_STRING, $redis->type('vec:1'));
    same(true, is_array($redis->time()));
});

if (!ON_REDIS) {
    step('names models', function () use ($redis) {
        same('OK', is_string($ok = $redis->rawCommand('SET', 'm:1', vector(1), 'MODEL', 'minilm')) ? $ok : 'OK');
        same('minilm', $redis->rawCommand('MODEL', 'OF', 'm:1'));
        $redis->set('emb:e5@v2:17', 'x');
        same('e5@v2', $redis->rawCommand('MODEL', 'OF', 'emb:e5@v2:17'));
        $own = client();
        $own->rawCommand('MODEL', 'USE', 'gte');
        $own->set('m:2', 'x');
        same('gte', $redis->rawCommand('MODEL', 'OF', 'm:2'));
        $redis->rawCommand('CLEAR', 'MODEL', 'minilm');
        same([false, 'x'], $redis->mGet(['m:1', 'm:2']));
    });
}

exit($failed ? 1 : 0);
