"""Writes the seed corpora, one directory per target, from the test vectors in ../cmtp-spec/vectors.

    python3 seeds.py [--out DIRECTORY] [TARGET ...]      DIRECTORY is corpus/ beside it, TARGETs are all

The files depend on the vectors alone; `tests/tests/fuzz_replay.rs` replays the same ones. Needs Python 3.11 and nothing else.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "cmtp-spec" / "vectors"
MAGIC = bytes.fromhex("89434d54500d0a1a") + b"\x00"
LAYER, SEAL, INTERIM = 0x02, 0x08, 0x0a

Seed = tuple[str, bytes]


def cases(name: str) -> Iterator[tuple[str, dict, dict]]:
    """Each case of a file of vectors: its name, its group, itself."""
    for group in json.loads((VECTORS / f"{name}.json").read_text("utf-8"))["testGroups"]:
        for case in group["tests"]:
            yield f"{name}-{case['tcId']}", group, case


def varint(value: int) -> bytes:
    length, prefix = next((n, p) for n, p in ((1, 0), (2, 1), (4, 2), (8, 3)) if value < 1 << (8 * n - 2))
    return (value | prefix << (8 * length - 2)).to_bytes(length, "big")


def frame(number: int, payload: bytes) -> bytes:
    return varint(number) + varint(len(payload)) + payload


def streams() -> Iterator[Seed]:
    """Bytes as they come over a stream."""
    for file in "frame", "layer", "message":
        for name, _, case in cases(file):
            yield name, bytes.fromhex(case["input"])
    for name, group, case in cases("body"):
        if group["type"] == "body-frames":
            # An open layer in front of them, so that they have a place.
            head = bytes([6, 2 | bool(group.get("signed", case.get("signed"))), 0]) + bytes(32) + b"\0\0" + bytes(16) + b"\0"
            yield name, frame(LAYER, head) + bytes.fromhex(case["input"])
    for name, group, case in cases("field"):
        fields, count = bytes.fromhex(case["input"]), varint(len(case.get("fields") or "1"))
        public, private = (count, b"\0") if group["class"] == "public" else (b"\0", b"\1\0" + bytes(16))
        lists = public + bytes(16) + (fields + private if group["class"] == "public" else private + fields)
        yield name, frame(LAYER, bytes([6, 0, 0]) + bytes(32) + b"\0" + lists)
    for name, _, case in cases("chain"):
        yield name, bytes.fromhex("".join(case["layers"]))
    for name, group, case in cases("seal"):
        yield name, frame(SEAL if group["frame"] == "seal" else INTERIM, bytes.fromhex(case["input"]))
    for name, _, case in cases("stored"):
        yield name, bytes.fromhex(case["input"])[len(MAGIC):]


def message() -> Iterator[Seed]:
    for name, data in streams():
        # The first four bytes are the sizes of the pieces in which the stream comes.
        yield name, hashlib.sha256(data).digest()[:4] + data


def round_trip() -> Iterator[Seed]:
    yield from streams()
    for file in "receipt", "key-list":
        for name, group, case in cases(file):
            if group["type"] == file:
                yield name, bytes.fromhex(case["input"])
    for name, _, case in cases("did"):
        yield name, case["did"].encode()


def chain() -> Iterator[Seed]:
    """Plans have no form of their own: any bytes are one, and those of a real message are as good as others."""
    for name, _, case in cases("stored"):
        data = bytes.fromhex(case["input"])
        yield name, data
        for size in 64, 512, 4096:
            yield f"{name}-{size}", hashlib.shake_256(data).digest(size)


def answer() -> Iterator[Seed]:
    for name, group, case in cases("message"):
        if group["type"] == "answer":
            data = bytes.fromhex(case["origin"] + case["input"])
            for kind in range(5):
                # Six bytes say what is changed, and where.
                yield f"{name}-{kind}", bytes([kind]) + hashlib.sha256(data).digest()[kind:][:5] + data


def fqmn() -> Iterator[Seed]:
    for name, group, case in cases("fqmn"):
        if group["type"] == "sugar":
            yield name, "\n".join([case["text"], *case["words"]]).encode()
        else:
            yield name, bytes.fromhex(case["input"])
    for name, _, case in cases("subject"):
        yield name, case["target"].encode()
    for name, _, case in cases("pattern"):
        yield name, f"{case['pattern']}\n{case['target']}".encode()


def stored() -> Iterator[Seed]:
    for name, _, case in cases("stored"):
        yield name, bytes.fromhex(case["input"])
    for name, group, case in cases("message"):
        if group["type"] == "answer":
            yield name, MAGIC + bytes.fromhex(case["origin"] + case["input"])


def audit() -> Iterator[Seed]:
    for name, data in stored():
        # Four bytes say what is changed: which piece, which side of it, where, which bit.
        yield name, hashlib.sha256(data).digest()[:4] + data
    for count in 1, 3, 256:
        yield f"bundle-{count}", b"".join(b"\x00\x44" + hashlib.shake_256(bytes([number])).digest(68) for number in range(count))


def envelope() -> Iterator[Seed]:
    for name, _, case in cases("envelope"):
        data = bytes.fromhex(case["input"])
        # Two bytes say what is changed.
        yield name, hashlib.sha256(data).digest()[:2] + data


TARGETS = {target.__name__: target for target in (message, round_trip, chain, answer, fqmn, stored, audit, envelope)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "corpus")
    parser.add_argument("target", nargs="*", help=", ".join(TARGETS))
    arguments = parser.parse_args()
    unknown = set(arguments.target) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    for target in arguments.target or TARGETS:
        directory = arguments.out / target
        directory.mkdir(parents=True, exist_ok=True)
        count = 0
        for name, data in TARGETS[target]():
            (directory / name).write_bytes(data)
            count += 1
        print(f"{target}: {count} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
