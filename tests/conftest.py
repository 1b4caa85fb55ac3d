"""Fixtures: what a test starts through them is stopped by them, whatever becomes of the test.

    make_redis(**options), make_harcad(settings, **kwargs), make_proxy(target), make_link_proxy(target)
                            started, as many as asked for
    redis_server, harcad    one, with defaults
    harcad_of_each_mode     one embedded, and one before a Redis of its own
"""

import signal

import pytest

from fleet import PATIENT, LinkProxy
from harcad_harness import Harcad, Proxy, Redis, SLOW

DEFAULT_LIMIT_S = 60


@pytest.fixture(autouse=True)
def _time_limit(request):
    """A test that hangs fails, with a traceback of where."""
    marker = request.node.get_closest_marker("limit")
    seconds = int((marker.args[0] if marker else DEFAULT_LIMIT_S) * SLOW)

    def expired(*_):
        pytest.fail(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def _started(request, _time_limit):
    """All that the test started, in order; ended in reverse."""
    things = []
    request.node.harcad_started = things
    yield things
    errors = []
    for thing in reversed(things):
        try:
            if isinstance(thing, Harcad):
                thing.stop()
                thing.check_sanitizers()
        except AssertionError as error:
            errors.append(str(error))
        finally:
            thing.close()
    assert not errors, "\n".join(errors)


def _factory(cls, things):
    def make(*args, **kwargs):
        thing = cls(*args, **kwargs)
        things.append(thing)
        return thing.start()

    return make


@pytest.fixture
def make_redis(_started):
    return _factory(Redis, _started)


@pytest.fixture
def make_harcad(_started):
    return _factory(Harcad, _started)


@pytest.fixture
def make_proxy(_started):
    return _factory(Proxy, _started)


@pytest.fixture
def make_link_proxy(_started):
    return _factory(LinkProxy, _started)


@pytest.fixture
def redis_server(make_redis):
    return make_redis()


@pytest.fixture
def harcad(make_harcad):
    return make_harcad()


@pytest.fixture(params=["embedded", "fleet"])
def harcad_of_each_mode(request, make_redis, make_harcad):
    if request.param == "embedded":
        return make_harcad()
    harcad = make_harcad(PATIENT, upstream=make_redis())
    harcad.wait_info(upstream_state="up", event_link="up")
    return harcad


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failing test shows the logs of its daemons."""
    report = (yield).get_result()
    if not report.failed or report.when == "setup" and not hasattr(item, "harcad_started"):
        return
    for thing in getattr(item, "harcad_started", []):
        if isinstance(thing, (Harcad, Redis)) and (text := thing.log()):
            report.sections.append((f"log of {thing.name}, port {thing.port}", text))
