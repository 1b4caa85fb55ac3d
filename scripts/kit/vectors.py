"""Embeddings and texts to cache: read from a directory, or made up in the same shapes.

A directory holds, at any depth, *.f32 (little-endian float32, rows of as many numbers as the name ends with, no
header), *.jsonl (one JSON array a line) and docs/ (texts). One row, line or text is one value."""

import array
import dataclasses
import json
import os
import random
import re
import sys

MADE_UP = (  # model, dims, rows, and the JSON form, if any
    ("minilm384", 384, 300, "double"),
    ("use512", 512, 500, "double"),
    ("nomic-768", 768, 25, "short"),
    ("oai-3large-256", 256, 31, None),
    ("oai-3large-1024", 1024, 25, None),
    ("oai-3small-1536", 1536, 31, "double"),
    ("oai-ada002-1536", 1536, 80, "short"),
)
MADE_UP_TEXTS = 200
JSON_ROWS = 30  # of each made-up model, as many are written as JSON too
WORDS = ("cache", "model", "vector", "answer", "epoch", "fleet", "token", "shard", "event", "query", "index", "stream")


@dataclasses.dataclass
class Model:
    """`values` by their keys. What names the model is the key, by the template emb:{model}:{id}, or, where
    `is_named` is set, the option MODEL of the command."""

    name: str
    shape: str
    values: dict
    is_named: bool = False

    @property
    def keys(self):
        return list(self.values)

    @property
    def bytes(self):
        return sum(map(len, self.values.values()))

    def set_command(self, key, value):
        return ("SET", key, value, "MODEL", self.name) if self.is_named else ("SET", key, value)


def load(directory, rows_max):
    """All models of a directory, the largest first. ValueError when there are none, or a file is not what it says."""
    models = []
    for parent, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            if name.endswith(".f32"):
                models.append(_from_f32(path, rows_max))
            elif name.endswith(".jsonl"):
                models.append(_from_json_lines(path, rows_max))
        if os.path.basename(parent) == "docs" and names:
            texts = sorted(name for name in names if not name.startswith("README"))
            models.append(_from_texts(parent, texts, rows_max))
    if not models:
        raise ValueError(f"no *.f32, *.jsonl or docs/ in {directory}")
    return _largest_first(models)


def make_up(seed, rows_max):
    """The same for the same seed."""
    rng = random.Random(seed)
    models = []
    for name, dims, rows, form in MADE_UP:
        vectors = [_unit_vector(rng, dims) for _ in range(min(rows, rows_max))]
        models.append(_model(name, f"{dims} x f32", [_little_endian(vector) for vector in vectors]))
        if form:
            lines = [_as_json(vector, form) for vector in vectors[:JSON_ROWS]]
            models.append(_model(f"{name}.{form}", f"{dims} x JSON", lines))
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(50, 500))).encode() for _ in range(min(MADE_UP_TEXTS, rows_max))]
    models.append(_texts_model({f"doc:{number}": text for number, text in enumerate(texts)}))
    return _largest_first(models)


def _largest_first(models):
    return sorted(models, key=lambda model: -model.bytes)


def _model(name, shape, values):
    return Model(name, shape, {f"emb:{name}:{row}": value for row, value in enumerate(values)})


def _texts_model(values):
    return Model("documents", "text", values, is_named=True)


def _from_f32(path, rows_max):
    name = os.path.basename(path).removesuffix(".f32")
    digits = re.search(r"\d+$", name)
    if not digits:
        raise ValueError(f"{path}: its name does not end with the number of dimensions")
    row_bytes = 4 * int(digits.group())
    with open(path, "rb") as file:
        data = file.read()
    if not data or len(data) % row_bytes:
        raise ValueError(f"{path}: {len(data)} bytes are not rows of {digits.group()} float32")
    rows = [data[at:at + row_bytes] for at in range(0, len(data), row_bytes)]
    return _model(name, f"{digits.group()} x f32", rows[:rows_max])


def _from_json_lines(path, rows_max):
    with open(path, "rb") as file:
        lines = [line.rstrip(b"\n") for line in file if line.strip()]
    dims = len(json.loads(lines[0]))
    return _model(os.path.basename(path).removesuffix(".jsonl"), f"{dims} x JSON", lines[:rows_max])


def _from_texts(directory, names, rows_max):
    values = {}
    for name in names[:rows_max]:
        with open(os.path.join(directory, name), "rb") as file:
            values[f"doc:{name}"] = file.read()
    return _texts_model(values)


def _unit_vector(rng, dims):
    numbers = [rng.gauss(0, 1) for _ in range(dims)]
    length = sum(number * number for number in numbers) ** 0.5
    return array.array("f", (number / length for number in numbers))


def _little_endian(vector):
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return vector.tobytes()


def _as_json(vector, form):
    """`double`: as float32 widened is printed; `short`: as many digits as a float32 has."""
    numbers = [float(f"{number:.8g}") for number in vector] if form == "short" else list(vector)
    return json.dumps(numbers, separators=(",", ":")).encode()
