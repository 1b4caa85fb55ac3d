"""A node of a Redis Cluster as the upstream. Spread over its nodes the fleet's keys are nothing that one script could change; under one
hash tag they lie together, and everything works as with a single server."""

import pytest

from fleet import PATIENT, in_step, prime, serves
from harcad_harness import free_port, wait_until

TAGGED = {"upstream.prefix": "{h}:", "fleet.name": "{h}"}


@pytest.fixture
def cluster(make_redis):
    """One node, which has all slots."""
    server = make_redis(cluster_enabled="yes", cluster_port=free_port())
    with server.client() as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    return server


def test_a_cluster_is_said_to_be_one_and_writes_fail_with_its_words(cluster, make_harcad):
    node = make_harcad(PATIENT, upstream=cluster)
    in_step(node)
    with node.raw() as conn:
        assert str(conn.command("SET", "k", "v")).startswith("CROSSSLOT ")
        assert conn.command("GET", "k") is None
    assert "warn upstream_in_cluster" in node.log()


def test_under_one_hash_tag_a_node_of_a_cluster_is_like_any_server(cluster, make_harcad):
    nodes = [make_harcad({**PATIENT, **TAGGED}, upstream=cluster) for _ in range(2)]
    in_step(*nodes)
    with nodes[0].raw() as here:
        assert here.command("MSET", "a", "1", "b", "2") == "OK"
        for i in range(300):
            assert here.command("SET", f"m{i}", "v", "MODEL", "m") == "OK"
        prime(nodes[1], "a", "m1")
        assert here.command("DEL", "a") == 1
        assert here.command("CLEAR", "MODEL", "m") == "OK"
    for key in ("a", "m1"):
        serves(nodes[1], key, None)
    assert nodes[1].client().get("b") == b"2"
    wait_until(lambda: cluster.client().keys("{h}:*") == [b"{h}:b"], message="the sweep has been through")
    nodes[0].restart()
    in_step(nodes[0])
    assert nodes[0].info()["resyncs"] <= 1
