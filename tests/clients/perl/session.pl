#!/usr/bin/perl
# Perl's Redis, as an application that keeps vectors uses it. See tests/clients/conftest.py for how it is told where.
use strict;
use warnings;
use Redis;

my $port = $ENV{HARCAD_PORT};
my $failed = 0;

sub vector { my $seed = shift; return join '', map { chr(($_ + $seed * 31 + ($_ >> 8)) & 0xff) } 0 .. 4095 }
sub same { my ($expected, $got) = @_; die "expected '$expected', got '" . ($got // 'undef') . "'\n" if !defined $got || $expected ne $got }
sub refused { my ($words, $what) = @_; eval { $what->(); 1 } and die "not refused\n"; die $@ if $@ !~ $words }

sub step {
    my ($name, $what) = @_;
    if (eval { $what->(); 1 }) { print "ok $name\n" }
    else { $failed++; print "FAILED $name: $@\n" }
}

my $redis = Redis->new(server => "127.0.0.1:$port", reconnect => 10, every => 10_000, name => 'app');

step 'keeps vectors byte for byte' => sub {
    same('app', $redis->client_getname);
    for my $i (0 .. 15) { $redis->set("vec:$i", vector($i)) }
    for my $i (0 .. 15) { same(vector($i), $redis->get("vec:$i")) }
    my @many = $redis->mget('vec:3', 'none');
    same(vector(3), $many[0]);
    die "not undef" if defined $many[1];
};

step 'expires' => sub {
    $redis->setex('ttl', 100, 'x');
    die 'too soon' if $redis->ttl('ttl') < 90;
    same(1, $redis->persist('ttl'));
    same(-1, $redis->ttl('ttl'));
};

step 'pipelines' => sub {
    my $n = 0;
    for my $i (0 .. 199) { my $v = vector($i); $redis->set("pipe:$i", $v, sub { }); $redis->get("pipe:$i", sub { $n++ if $_[0] eq $v }) }
    $redis->wait_all_responses;
    same(200, $n);
};

step 'runs transactions' => sub {
    $redis->multi; $redis->set('tx', 1); $redis->incr('tx');
    same('OK 2', join ' ', $redis->exec);
    refused(qr/not an integer/, sub { $redis->incr('vec:1') });
};

step 'scans to the end' => sub {
    $redis->mset(map { ("scan:$_", $_) } 0 .. 499);
    my ($cursor, %seen) = (0);
    do { ($cursor, my $page) = $redis->scan($cursor, MATCH => 'scan:*', COUNT => 50); $seen{$_} = 1 for @$page } while $cursor;
    same(500, scalar keys %seen);
    same(11, scalar(my @found = $redis->keys('scan:49*')));
};

step 'gets errors in words, and info' => sub {
    refused(qr/unknown command/, sub { $redis->nosuch('a') });
    same('master', $redis->info->{role});
};

step 'authenticates' => sub {
    my $locked = "127.0.0.1:$ENV{HARCAD_AUTH_PORT}";
    refused(qr/NOAUTH/, sub { Redis->new(server => $locked)->get('a') });
    refused(qr/WRONGPASS/, sub { Redis->new(server => $locked, password => 'wrong')->get('a') });
    same('OK', Redis->new(server => $locked, password => $ENV{HARCAD_PASSWORD})->set('a', 1));
};

step 'comes back after the daemon has closed the connection' => sub {
    my $id = $redis->client_id;
    same(1, Redis->new(server => "127.0.0.1:$port")->client_kill('ID', $id));
    same(vector(1), $redis->get('vec:1'));
};

step 'uses the Unix socket' => sub { same(vector(2), Redis->new(sock => $ENV{HARCAD_SOCKET})->get('vec:2')) };

step 'names models' => sub {
    $redis->set('emb:e5@v2:17', 'x', 'MODEL', 'minilm');
    same('minilm', $redis->model('OF', 'emb:e5@v2:17'));
    $redis->clear('MODEL', 'minilm');
    die 'still there' if defined $redis->get('emb:e5@v2:17');
} if $ENV{HARCAD_KIND} ne 'redis';

exit($failed ? 1 : 0);
