"""A trace of requests, put on a server as a cache-aside client does: GET, and on a miss SET.

A trace is a sequence of (key's number, bytes of its value). Requests go out in batches: all GETs of one, then a SET for each
key that was missed. A value that the server refuses is not kept, and that is all.
"""

import bisect
import dataclasses
import gzip
import itertools
import random

from .resp import RespError, encode

BATCH = 100
SIZE_MAX = 1 << 20
BYTES = bytes(SIZE_MAX)


@dataclasses.dataclass
class Replayed:
    requests: int = 0
    hits: int = 0
    refused: int = 0  # values

    @property
    def hit_ratio(self):
        return self.hits / self.requests


def read(path, limit=None):
    """A file of lines `key bytes`, packed or not; at most so many requests."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="ascii") as lines:
        for line in itertools.islice(lines, limit):
            key, size = line.split()
            yield int(key), min(int(size), SIZE_MAX)


def zipf(requests, keys, *, size=4096, skew=0.9, seed=1):
    """Keys drawn by Zipf's law, the most wanted spread over the numbers."""
    rng = random.Random(seed)
    sums = list(itertools.accumulate((rank + 1) ** -skew for rank in range(keys)))
    numbers = list(range(keys))
    rng.shuffle(numbers)
    for _ in range(requests):
        yield numbers[bisect.bisect_left(sums, rng.random() * sums[-1])], size


def footprint(trace):
    """Bytes of all values that occur in it."""
    return sum(dict(trace).values())


def batches(trace, most, apart):
    """Lists of at most so many requests. With `apart` none has a key twice: it ends before."""
    batch, seen = [], set()
    for request in trace:
        if len(batch) == most or (apart and request[0] in seen):
            yield batch
            batch, seen = [], set()
        batch.append(request)
        seen.add(request[0])
    if batch:
        yield batch


def replay(client, trace, watch=None, *, most=BATCH, apart=False):
    """On a kit.resp.Client. `watch` is called after each batch. With `apart` a key is never asked for before the SET that its
    last miss led to, as in strict order."""
    done = Replayed()
    for batch in batches(trace, most, apart):
        values = client.call("MGET", *(f"t:{key}" for key, _ in batch))
        missed = {key: size for (key, size), value in zip(batch, values) if value is None}
        client.send(b"".join(encode("SET", f"t:{key}", BYTES[:size]) for key, size in missed.items()))
        for _ in missed:
            try:
                client.receive()
            except RespError:
                done.refused += 1
        done.requests += len(batch)
        done.hits += len(batch) - sum(value is None for value in values)
        if watch is not None:
            watch()
    return done
