"""prometheus-redis-exporter, as an example of what watches a Redis: it asks for INFO ALL, CONFIG GET *, SLOWLOG and LATENCY,
and SCANs for keys."""

import re
import shutil
import subprocess
import urllib.request

import pytest

from harcad_harness import free_port, wait_until


@pytest.fixture
def metrics(scene, tmp_path):
    if shutil.which("prometheus-redis-exporter") is None:
        pytest.skip("there is no prometheus-redis-exporter")
    url = f"127.0.0.1:{free_port()}"
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(["prometheus-redis-exporter", "-redis.addr", f"redis://127.0.0.1:{scene.daemon.port}", "-web.listen-address", url,
                                    "-check-keys", "key:*", "-include-system-metrics"], stdout=log, stderr=log)

    def ask():
        with urllib.request.urlopen(f"http://{url}/metrics", timeout=5) as page:
            return page.read().decode()

    try:
        wait_until(ask, message="the exporter answers")
        yield ask
    finally:
        process.kill()
        process.wait()
    assert "level=error" not in (tmp_path / "log").read_text()


def test_exporter_finds_what_it_looks_for(scene, metrics):
    with scene.daemon.client() as client:
        client.mset({f"key:{i}": "x" * i for i in range(20)})
        assert client.get("key:7") and client.get("none") is None
    found = dict(re.findall(r"^(redis_\w+(?:\{[^}]*\})?) ([-+.\de]+)$", metrics(), re.M))
    assert found['redis_exporter_last_scrape_error{err=""}'] == "0"
    assert found["redis_up"] == "1"
    assert float(found["redis_keyspace_hits_total"]) >= 1 and float(found["redis_keyspace_misses_total"]) >= 1
    assert float(found["redis_memory_used_bytes"]) > 0 and float(found["redis_cpu_user_seconds_total"]) >= 0
    assert float(found["redis_connected_clients"]) >= 1 and float(found["redis_commands_processed_total"]) > 0
    assert float(found["redis_connected_slaves"]) == 0 and float(found["redis_loading_dump_file"]) == 0
    assert [name for name in found if name.startswith("redis_instance_info") and 'role="master"' in name]
    sizes = {name: value for name, value in found.items() if name.startswith("redis_key_size")}
    assert len(sizes) == 20 and sizes['redis_key_size{db="db0",key="key:7"}'] == "7"
