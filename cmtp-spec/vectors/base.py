"""What all of the reader stands on: the registry, the outcomes of reading, hashes, varints (chapter 1)."""
from __future__ import annotations

import hashlib
import tomllib
from contextlib import contextmanager
from pathlib import Path

_REGISTRY = Path(__file__).resolve().parent.parent / "registry"


def _table(file: str, value: str = "number") -> dict:
    with open(_REGISTRY / f"{file}.toml", "rb") as toml:
        return {entry["name"]: entry[value] for entry in tomllib.load(toml)["entry"]}


FRAME, ITEM, STEP, FLAG = _table("frames"), _table("seal-items"), _table("steps"), _table("flags")
LIMIT, BINDING, OPCODE, KEY_USE = _table("limits", "value"), _table("binding", "value"), _table("opcodes"), _table("key-uses")
TAG = {name: text.encode() for name, text in _table("tags", "value").items()}
FIELD, FIELD_KIND, FIELD_CLASS = _table("fields"), _table("fields", "kind"), _table("fields", "class")
FIELD_NAME = {number: name for name, number in FIELD.items()}
FRAME_NAME = {number: name for name, number in FRAME.items()}
FRAME_STREAMS = {name: streams.replace(" (client)", "").split(", ") for name, streams in _table("frames", "streams").items()}
STEP_NAME = {number: name for name, number in STEP.items()}
PROCESS = _table("opcodes", "process")
ENTRY_TYPE, ENTRY_FLAG, MODE = _table("entry-types"), _table("entry-flags"), _table("journal-modes")
with open(_REGISTRY / "opcodes.toml", "rb") as _toml:
    PROCESS_RULE = {rule["name"]: rule["process"] for rule in tomllib.load(_toml)["rule"]}

OWN_FIELDS = 32                      # fields from this number on are CMTP's own (chapter 3)
TIME_END = 1 << 62                   # times are below it (CNV-2)
NO_INDEX = (1 << 64) - 1             # "first index" of a commit that stands in no log
ZERO = bytes(32)
MAGIC = bytes.fromhex(BINDING["stored-magic"].removeprefix("hex:"))
SIGNED, BODY, BODY_UNREAD, COMPLETE, CUT = (FLAG[f] for f in ("signed", "body", "body-unread", "complete", "cut"))


class Incomplete(Exception):
    """More bytes are needed."""


class Malformed(Exception):
    """A rule is broken. `kind` is the name of the close code where the text gives one."""

    def __init__(self, rule: str | None, why: str, kind: str = "malformed"):
        super().__init__(f"[{rule or '-'}] {why}")
        self.rule, self.kind = rule, kind


def require(holds: object, rule: str | None, why: str, kind: str = "malformed") -> None:
    if not holds:
        raise Malformed(rule, why, kind)


def within(value: int, limit: str, rule: str = "LIM-2") -> int:
    require(value <= LIMIT[limit], rule, f"{value} is above {limit}", "limit")
    return value


def H(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def u(value: int, bits: int) -> bytes:
    return value.to_bytes(bits // 8, "big")


def varint(value: int) -> bytes:
    for size in (1, 2, 4, 8):
        if value >> (8 * size - 2) == 0:
            return u(value | (size.bit_length() - 1) << (8 * size - 2), 8 * size)
    raise ValueError("a varint is below 2^62")


def decode_utf8(data: bytes, rule: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(rule, "not UTF-8") from None


class Cursor:
    """Reads from the front of some bytes; raises Incomplete at their end."""

    def __init__(self, data: bytes, at: int = 0):
        self.data, self.at = data, at

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise Incomplete
        self.at += size
        return self.data[self.at - size:self.at]

    def u(self, bits: int) -> int:
        return int.from_bytes(self.take(bits // 8), "big")

    def time(self) -> int:
        value = self.u(64)
        require(value < TIME_END, "CNV-2", "a time is below 2^62")
        return value

    def varint(self) -> int:
        first = self.u(8)
        size = 1 << (first >> 6)
        value = int.from_bytes(bytes([first & 0x3f]) + self.take(size - 1), "big")
        require(size == 1 or value >> (4 * size - 2), "CNV-1", "a varint in a longer form than it needs")
        return value

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)


@contextmanager
def exactly(payload: bytes, rule: str = "FRM-1"):
    """A cursor over a payload that must be used up exactly: bytes missing or left over are malformed."""
    cursor = Cursor(payload)
    try:
        yield cursor
    except Incomplete:
        raise Malformed(rule, "bytes are missing") from None
    require(not cursor, rule, "bytes are left over")
