"""Daemons as the tests of several files start them."""

import pytest

from fleet import start_fleet
from outage import BRISK


@pytest.fixture
def proxy(make_link_proxy, redis_server):
    return make_link_proxy(redis_server.address)


@pytest.fixture
def node(make_harcad, proxy):
    """One daemon behind a proxy."""
    return start_fleet(make_harcad, proxy.url, 1, BRISK)[0]
