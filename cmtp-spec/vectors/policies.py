"""Chapter 23: what policies call a target and a request, and the listing of a policy set."""
from __future__ import annotations

import re
import struct

from base import LIMIT, H, _table, require

_MAGIC = bytes.fromhex("434d5450504f4c0a")
_NAME = re.compile(rb"[A-Za-z0-9_-][A-Za-z0-9._-]*\.cedar")
_ACTION = _table("opcodes", "action")


def action_of(target: str) -> str:
    return _ACTION[target.split(":")[0]]


def names_of(target: str) -> list[str]:
    """The name of a target, and its beginnings: the longest first."""
    opcode, *rest = target.split(":")
    elements = [opcode.removesuffix("W"), *rest]
    return [":".join(elements[:count]) for count in range(len(elements), 0, -1)]


def check_set(files: list[tuple[bytes, bytes]]) -> None:
    for name, _ in files:
        require(_NAME.fullmatch(name) and len(name) <= LIMIT["policy-file-name-max"], "POL-6", f"a file name: {name}")
    require(len(files) <= LIMIT["policy-files-max"], "POL-6", "too many files")
    require(sum(len(text) for _, text in files) <= LIMIT["policy-bytes-max"], "POL-6", "too many bytes")
    for before, after in zip(files, files[1:]):
        require(before[0] < after[0], "POL-7", "names that don't ascend")


def listing_of(files: list[tuple[bytes, bytes]]) -> bytes:
    files = sorted(files)
    check_set(files)
    parts = [struct.pack(">B", len(name)) + name + struct.pack(">I", len(text)) + text for name, text in files]
    return _MAGIC + struct.pack(">I", len(files)) + b"".join(parts)


def read_listing(data: bytes) -> list[tuple[bytes, bytes]]:
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        require(at + count <= len(data), "POL-7", "it ends too early")
        at += count
        return data[at - count:at]
    require(take(8) == _MAGIC, "POL-7", "no listing")
    files = []
    for _ in range(int.from_bytes(take(4))):
        name = take(take(1)[0])
        files.append((name, take(int.from_bytes(take(4)))))
    require(at == len(data), "POL-7", "bytes left over")
    check_set(files)
    return files


def digest_of(files: list[tuple[bytes, bytes]]) -> bytes:
    return H(listing_of(files))


def make(file):
    """The cases of policies.json; `file` makes them."""
    f = file("policies",
             Names=("BASIC", "what policies call a target and a request", "POL-1"),
             Set=("BASIC", "the listing and the digest of a set", "POL-7"),
             FileName=("LIMIT", "a name that no policy file has", "POL-6"),
             Malformed=("AMBIGUITY", "bytes that are no listing, or not the one of their set", "POL-7"),
             Bound=("LIMIT", "as much as a set may have, or more", "POL-6"))
    f.group("policy-name")
    for target in ("0xS:echo", "0xS:0x001:color", "0xSW:0x001:color", "0xI:identity:show", "0xIW:erase", "0xE:audit", "0xE:0xR:helloworld.mcom:Transferred", "0xEW:0xR:a:b", "0xA:0x001:call", "0xAW:box:deploy", "0xC:status",
                   "0xCW:height:9", "0xR:helloworld.mcom", "0xRW:register:helloworld.mcom:0xSW:0x001", "0xP:n:0xS:echo", "0xPW:n:0xSW:a", "0xS:%2A:%22", "0xS:" + ":".join("abcdefghijklmnopqrstuvwxyz01234")):
        f.case(target[:40], "Names", target=target)
    f.group("policy-set")

    def case(comment, flags, files, expect="valid"):
        f.case(comment, flags, expect, files=[[name, text] for name, text in files])
    one = ("default.cedar", b"permit (principal, action, resource);")
    case("no file", "Set", [])
    case("one file", "Set", [one])
    case("an empty file", "Set", [("a.cedar", b"")])
    case("three, sorted by their bytes", "Set", [("b.cedar", b"b"), ("B.cedar", b"B"), ("a-1.cedar", b"\xff\0")])
    case("a name that another begins with", "Set", [("a.cedar", b"1"), ("a.b.cedar", b"2")])
    case("the longest name", "Set Bound", [("n" * 58 + ".cedar", b"x")])
    case("a name that is too long", "FileName", [("n" * 59 + ".cedar", b"x")], "POL-6")
    for name in (".cedar", "a.txt", "a.cedar.bak", ".a.cedar", "a b.cedar", "a#0.cedar", "\u00e4.cedar", "a/b.cedar", "A.CEDAR", ""):
        case(f"the name {name!a}", "FileName", [(name, b"")], "POL-6")
    case("as many files as may be", "Set Bound", [(f"{n}.cedar", b"") for n in range(256)])
    case("one more", "Bound", [(f"{n}.cedar", b"") for n in range(257)], "POL-6")
    f.group("policy-listing")
    two = listing_of([(b"a.cedar", b"x"), (b"b.cedar", b"yy")])
    f.case("two files", "Set", "valid", input=two)
    f.case("no file", "Set", "valid", input=_MAGIC + bytes(4))
    for comment, data in (("empty", b""), ("the magic alone", _MAGIC), ("another magic", b"cmtppol\n" + bytes(4)), ("one byte less", two[:-1]), ("one byte more", two + b"\0"), ("one file fewer than it says", two[:11] + b"\3" + two[12:]),
                          ("one file more than it says", two[:11] + b"\1" + two[12:]), ("a length beyond the end", two[:20] + b"\xff" + two[21:]), ("2^32 - 1 files", _MAGIC + b"\xff" * 4),
                          ("not sorted", _MAGIC + b"\0\0\0\2" + two[12 + 13:] + two[12:12 + 13]), ("a name twice", _MAGIC + b"\0\0\0\2" + two[12:12 + 13] * 2)):
        f.case(comment, "Malformed", "POL-7", input=data)
    f.case("a file name that is none", "FileName", "POL-6", input=_MAGIC + b"\0\0\0\1\5a.txt" + bytes(4))
    return f


def run_name(case):
    return {"action": action_of(case["target"]), "names": names_of(case["target"])}


def run_set(case):
    files = [(name.encode(), text) for name, text in case["files"]]
    return {"listing": listing_of(files).hex(), "digest": digest_of(files).hex()}


def run_listing(case):
    files = read_listing(case["input"])
    assert listing_of(files) == case["input"]
    return {"files": [[name.decode(), text.hex()] for name, text in files], "digest": digest_of(files).hex()}
