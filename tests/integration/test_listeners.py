"""Where clients come in: Unix sockets and their files, TCP, sockets handed over by systemd, listeners with a model."""

import glob
import os
import pwd
import resource
import signal
import socket
import stat
import subprocess
import sys

from harcad_harness import Harcad, RawConn, free_port, wait_until


def refused_start(settings, **kwargs):
    """Starts a daemon that must not start; gives what it said."""
    harcad = Harcad(settings, **kwargs)
    try:
        done = harcad.run(*harcad.argv(free_port())[1:])
        assert done.returncode == 1
        assert b" info ready " not in done.stderr
        return (done.stdout + done.stderr).decode()
    finally:
        harcad.close()


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# ---- Unix sockets ----


def test_listeners_unix_socket_has_its_mode_and_goes_at_the_end(make_harcad):
    harcad = make_harcad()
    assert stat.S_ISSOCK(os.stat(harcad.unix_path).st_mode)
    assert mode_of(harcad.unix_path) == 0o660
    path = harcad.unix_path
    harcad.stop()
    assert not os.path.exists(path)


def test_listeners_unix_socket_mode_owner_and_group_are_settings(make_harcad):
    if os.geteuid() != 0:
        harcad = make_harcad({"listen.unix_mode": "0600", "listen.unix_owner": str(os.geteuid()), "listen.unix_group": str(os.getegid())})
        assert mode_of(harcad.unix_path) == 0o600
        return
    nobody = pwd.getpwnam("nobody")
    harcad = make_harcad({"listen.unix_mode": "0606", "listen.unix_owner": "nobody", "listen.unix_group": str(nobody.pw_gid)})
    found = os.stat(harcad.unix_path)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o606, nobody.pw_uid, nobody.pw_gid)


def test_listeners_unix_owner_unknown_is_refused():
    assert "listen.unix_owner" in refused_start({"listen.unix_owner": "no-such-user"})
    assert "listen.unix_group" in refused_start({"listen.unix_group": "no-such-group"})


def test_listeners_unix_path_too_long_or_not_there_is_refused():
    assert "cannot listen on /no/such/dir/s" in refused_start({"listen.unix": "/no/such/dir/s"})
    assert "listen.unix" in refused_start({"listen.unix": "/" + "x" * 120})


def test_listeners_stale_socket_is_replaced(make_harcad):
    harcad = make_harcad()
    harcad.kill()
    assert os.path.exists(harcad.unix_path)
    harcad.start()
    with harcad.raw(unix=True) as conn:
        assert conn.command("PING") == "PONG"


def test_listeners_live_socket_is_refused_and_left_alone(harcad):
    text = refused_start({"listen.unix": harcad.unix_path})
    assert "in use" in text and harcad.unix_path in text
    with harcad.raw(unix=True) as conn:
        assert conn.command("PING") == "PONG"


def test_listeners_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    assert "in use" in refused_start({"listen.unix": str(path)})
    assert path.read_text() == "data"


# ---- TCP ----


def test_listeners_tcp_port_in_use_is_a_clear_error(harcad):
    text = refused_start({"listen.tcp": f"127.0.0.1:{harcad.port}"})
    assert f"cannot listen on 127.0.0.1:{harcad.port}: Address already in use" in text
    assert harcad.client().ping()


def test_listeners_all_off_is_an_error():
    assert "nothing to listen on" in refused_start({"listen.tcp": "", "listen.unix": ""})


def test_listeners_unix_only_and_tcp_only(make_harcad):
    unix_only = make_harcad({"listen.tcp": ""})
    assert unix_only.client(unix=True).ping()
    tcp_only = make_harcad({"listen.unix": ""})
    assert tcp_only.client().ping()
    assert not glob.glob(tcp_only.dir + "/*.sock")


def test_listeners_bare_port_is_on_all_addresses(_started):
    harcad = Harcad({"listen.tcp": str(free_port())})
    harcad.port = int(harcad.settings["listen.tcp"])
    _started.append(harcad)
    harcad.start()
    with RawConn(("127.0.0.2", harcad.port)) as conn:
        assert conn.command("PING") == "PONG"


def test_listeners_bad_addresses_are_refused():
    for bad in ("127.0.0.1", "host:", "127.0.0.1:99999", "1.2.3.4:5:6"):
        assert "listen.tcp" in refused_start({"listen.tcp": bad}), bad


# ---- models ----


def test_listeners_with_a_model_bind_it(make_harcad):
    port = free_port()
    harcad = make_harcad({"listen.models": f"127.0.0.1:{port}=vendor/large:7"})
    with harcad.raw() as plain, RawConn(("127.0.0.1", port)) as large:
        assert large.command("SET", "k", "v") == "OK"
        assert plain.command("MODEL", "OF", "k") == b"vendor/large:7"
        assert plain.command("SET", "plain", "v") == "OK"
        assert plain.command("MODEL", "OF", "plain") == b"default"
        # RESET goes back to the listener's, not to none.
        assert large.command("MODEL", "USE", "other") == "OK"
        assert large.command("SET", "k", "v") == "OK"
        assert plain.command("MODEL", "OF", "k") == b"other"
        assert large.command("RESET") == "RESET"
        assert large.command("SET", "k", "v") == "OK"
        assert plain.command("MODEL", "OF", "k") == b"vendor/large:7"
        assert isinstance(plain.command("CLEAR", "MODEL", "vendor/large:7"), (str, int))
        assert plain.command("GET", "k") is None
        assert plain.command("GET", "plain") == b"v"


def test_listeners_with_a_model_on_a_unix_socket(make_harcad, tmp_path):
    path = str(tmp_path / "s")
    harcad = make_harcad({"listen.models": f"{path}=small"})
    with RawConn(path) as conn:
        assert conn.command("SET", "k", "v") == "OK"
        assert conn.command("MODEL", "OF", "k") == b"small"
    assert mode_of(path) == 0o660
    harcad.stop()
    assert not os.path.exists(path)


# ---- systemd ----

# What systemd does between fork and exec: descriptors from 3 on, and who they are for.
ACTIVATE = """
import fcntl, os, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1].split(",")]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ["LISTEN_PID"] = sys.argv[2] if sys.argv[2] != "own" else str(os.getpid())
os.environ["LISTEN_FDS"] = sys.argv[3]
os.execv(sys.argv[4], sys.argv[4:])
"""


class Activated(Harcad):
    """A daemon that is handed sockets as systemd hands them over."""

    def __init__(self, settings, sockets, pid="own", fds=None):
        super().__init__(settings)
        self.sockets, self.for_pid, self.fds = sockets, pid, str(len(sockets) if fds is None else fds)

    def _spawn(self, argv, env):
        numbers = [each.fileno() for each in self.sockets]
        argv = [sys.executable, "-c", ACTIVATE, ",".join(map(str, numbers)), self.for_pid, self.fds, *argv]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=self.dir, pass_fds=numbers)


def listening(family, address):
    sock = socket.socket(family)
    sock.bind(address)
    sock.listen(16)
    return sock


def test_listeners_socket_activation_serves_what_was_handed_over(_started, tmp_path):
    tcp = listening(socket.AF_INET, ("127.0.0.1", 0))
    unix_path = str(tmp_path / "handed")
    unix = listening(socket.AF_UNIX, unix_path)
    harcad = Activated({}, [tcp, unix])
    _started.append(harcad)
    # Somebody is there before the daemon is: that is what it is for.
    early = RawConn(tcp.getsockname())
    harcad.port = tcp.getsockname()[1]
    harcad.start()
    assert early.command("PING") == "PONG"
    early.close()
    with RawConn(unix_path) as conn:
        assert conn.command("SET", "k", "v") == "OK"
    # Its own listeners stay closed: systemd's are in their place.
    assert not os.path.exists(harcad.unix_path)
    # A descriptor that was handed over is not inherited further, and its file is systemd's.
    harcad.stop()
    assert os.path.exists(unix_path)
    tcp.close()
    unix.close()


def test_listeners_socket_activation_for_another_process_is_ignored(_started):
    tcp = listening(socket.AF_INET, ("127.0.0.1", 0))
    harcad = Activated({}, [tcp], pid="1")
    _started.append(harcad)
    harcad.start()
    assert harcad.client().ping()
    assert harcad.client(unix=True).ping()
    tcp.close()


def test_listeners_socket_activation_with_a_descriptor_that_does_not_listen_is_refused(tmp_path):
    plain = socket.socket()
    for fds in ("1", "5"):
        harcad = Activated({}, [plain], fds=fds)
        try:
            harcad._spawn(harcad.argv(free_port()), harcad.environment())
            assert harcad.wait() == 1
            assert "LISTEN_FDS" in harcad.log()
        finally:
            harcad.close()
    plain.close()


def test_listeners_accept_again_after_descriptors_ran_out(make_harcad):
    """Out of descriptors it rests and tries again; who is connected is served all the while."""
    harcad = make_harcad()
    with harcad.raw() as conn:
        limit = resource.prlimit(harcad.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(harcad.pid, resource.RLIMIT_NOFILE, (harcad.open_fds() + 2, limit[1]))
        waiting = [harcad.raw() for _ in range(5)]
        wait_until(lambda: "accept_failed" in harcad.log())
        assert conn.command("PING") == "PONG"
        resource.prlimit(harcad.pid, resource.RLIMIT_NOFILE, limit)
        assert [each.command("PING") for each in waiting] == ["PONG"] * 5
        for each in waiting:
            each.close()
        harcad.signal(signal.SIGTERM)
        assert harcad.wait() == 0
