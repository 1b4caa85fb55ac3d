"""The daemon starts, serves and ends."""

import pytest

pytestmark = pytest.mark.tsan


def test_smoke_ping_set_get_over_tcp_and_unix(harcad):
    for client in (harcad.client(), harcad.client(unix=True)):
        with client:
            assert client.ping()
            assert client.set("key", b"\x00value\r\n") is True
            assert client.get("key") == b"\x00value\r\n"
            assert client.get("absent") is None


def test_smoke_sigterm_exits_0_and_frees_the_port(harcad):
    harcad.stop()
    assert harcad.process.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        harcad.raw()


def test_smoke_with_an_upstream_sees_it_up(redis_server, make_harcad):
    harcad = make_harcad(upstream=redis_server)
    harcad.wait_info(upstream_state="up")
