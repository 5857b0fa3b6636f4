"""Chapter 6: FQMN, their arguments, sugar, subjects; and the patterns of scopes (chapter 10)."""
from __future__ import annotations

import json
import re
from dataclasses import dataclass

from base import BINDING, LIMIT, Malformed, decode_utf8, require

_OPCODE = re.compile(r"0x[ISEACRP]W?")
_ADDRESS = re.compile(r"0x[0-9a-f]{3,}")
_RESERVED = set(range(0x21)) | {0x7f} | set(b'"%*:[]')
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_SPACE = re.compile(r"[ \t\n\r]*")


def check_args(args: bytes) -> str:
    """A JSON array by the grammar of RFC 8259 (FQN-7)."""
    require(len(args) <= LIMIT["args-max"], "FQN-7", "longer than args-max")
    text = decode_utf8(args, "FQN-7")

    def value(at: int, depth: int) -> int:
        """Reads the value at `at`; gives the place after it."""
        opener = text[at:at + 1]
        if opener not in ("[", "{"):
            match = _STRING.match(text, at) or _SCALAR.match(text, at)
            require(match, "FQN-7", f"no JSON value at {at}")
            return match.end()
        require(depth <= LIMIT["args-depth-max"], "FQN-7", "deeper than args-depth-max")
        closer = "]" if opener == "[" else "}"
        at = space(at + 1)
        if text[at:at + 1] == closer:
            return at + 1
        while True:
            if opener == "{":
                name = _STRING.match(text, at)
                require(name, "FQN-7", f"no name at {at}")
                at = space(name.end())
                require(text[at:at + 1] == ":", "FQN-7", f"no colon at {at}")
                at = space(at + 1)
            at = space(value(at, depth + 1))
            if text[at:at + 1] == closer:
                return at + 1
            require(text[at:at + 1] == ",", "FQN-7", f"no comma at {at}")
            at = space(at + 1)

    def space(at: int) -> int:
        return _SPACE.match(text, at).end()

    require(text.startswith("[") and value(0, 1) == len(text), "FQN-7", "not a JSON array and nothing else")
    return text


def is_opcode(element: str) -> bool:
    return _OPCODE.fullmatch(element) is not None


@dataclass(frozen=True)
class Fqmn:
    elements: tuple[str, ...]        # opcodes and segments as in the normal form
    args: str | None = None

    def __str__(self) -> str:
        return ":".join(self.elements + ((self.args,) if self.args is not None else ()))

    @property
    def opcode(self) -> str:
        return self.elements[0]

    @property
    def is_write(self) -> bool:
        return self.opcode.endswith("W")


def decode_segment(segment: bytes) -> bytes:
    """Takes the percent-encoding away, which must be the normal one (FQN-1)."""
    decoded, at = bytearray(), 0
    while at < len(segment):
        byte = segment[at]
        if byte == ord("%"):
            code = segment[at + 1:at + 3]
            require(re.fullmatch(rb"[0-9A-F]{2}", code), "FQN-1", "% and no two upper-case hexadecimal digits")
            byte = int(code, 16)
            require(byte in _RESERVED, "FQN-1", "an encoded byte that is not reserved")
            at += 2
        else:
            require(byte not in _RESERVED, "FQN-1", f"the reserved byte {byte:#04x}")
        decoded.append(byte)
        at += 1
    return bytes(decoded)


def parse_fqmn(data: bytes, wildcards: bool = False) -> Fqmn:
    """An FQMN in normal form, or (with `wildcards`) what a pattern looks like. There is no other form (FQN-9)."""
    pieces = data.split(b":")
    args_at = next((i for i, piece in enumerate(pieces) if piece.startswith(b"[")), len(pieces))
    args = check_args(b":".join(pieces[args_at:])) if args_at < len(pieces) else None
    require(len(b":".join(pieces[:args_at])) <= LIMIT["target-max"], "FQN-5", "longer than target-max")
    elements = tuple(_element(piece, wildcards) for piece in pieces[:args_at])
    require(elements and is_opcode(elements[0]), "FQN-2", "an FQMN begins with an opcode")
    require(len(elements) > 1, "FQN-2", "no resource")
    require(len(elements) <= LIMIT["target-segments-max"], "FQN-5", "more than target-segments-max elements")
    seen = set()
    for element, following in zip(elements, elements[1:] + (None,)):
        if not is_opcode(element):
            continue
        if following is None or is_opcode(following):
            require(following and element in ("0xE", "0xEW"), "FQN-4", f"{element} without a segment")
        else:
            family = element.removesuffix("W")
            require((family, following) not in seen, "FQN-6", f"{family}:{following} stands twice, write form or not")
            if not (wildcards and following in ("*", "**")):
                seen.add((family, following))
    require(sum(map(is_opcode, elements)) <= LIMIT["target-depth-max"], "FQN-5", "more than target-depth-max opcodes")
    return Fqmn(elements, args)


def _element(piece: bytes, wildcards: bool) -> str:
    if wildcards and piece in (b"*", b"**"):
        return piece.decode()
    require(piece, "FQN-2", "an empty segment")
    decode_utf8(decode_segment(piece), "FQN-2")
    text = decode_utf8(piece, "FQN-2")
    require(not text.startswith("0x") or is_opcode(text) or _ADDRESS.fullmatch(text), "FQN-3",
            "neither an opcode nor an address")
    return text


def parse_target(data: bytes) -> Fqmn:
    """The value of the field `target`, or of `resolved` (FQN-8)."""
    fqmn = parse_fqmn(data)
    require(fqmn.args is None, "FQN-8", "a target has no arguments")
    return fqmn


def desugar(text: str, words: list[str] = ()) -> Fqmn:
    """What people type."""
    first, colon, rest = text.partition(":")
    if re.fullmatch(r"0[ISEACRP]W?x", first):
        first = f"0x{first[1:].replace('x', '')}"
    elif not is_opcode(first):
        first, colon, rest = "0xR", ":", text
    if words:
        rest += ":" + json.dumps(list(words), ensure_ascii=False, separators=(",", ":"))     # escapes ", \\ and 0x00 to 0x1f alone
    return parse_fqmn((first + colon + rest).encode())


def subject(target: Fqmn) -> str:
    tokens = [target.opcode.removeprefix("0x").lower()]
    for element in target.elements[1:]:
        tokens.append("".join(chr(byte) if re.fullmatch(rb"[a-z0-9_-]", bytes([byte])) else f"={byte:02x}"
                              for byte in decode_segment(element.encode())))
    text = BINDING["subject-prefix"] + ".".join(tokens)
    require(len(text) <= LIMIT["subject-max"], "FQN-11", "longer than subject-max")
    return text


class Pattern:
    """A pattern of a scope (chapter 10)."""

    def __init__(self, data: bytes):
        fqmn = parse_fqmn(data, wildcards=True)
        require(fqmn.args is None, None, "a pattern has no arguments")
        require(not any(is_opcode(e) and e.endswith("W") for e in fqmn.elements), None, "a write form in a pattern")
        require("**" not in fqmn.elements[:-1], None, "** is not the last element")
        self.elements = fqmn.elements

    def covers(self, target: Fqmn, klass: str) -> bool:
        """`klass` is the list in which the pattern stands: read or write."""
        if target.is_write != (klass == "write"):
            return False
        elements = (target.opcode.removesuffix("W"),) + target.elements[1:]
        pattern = self.elements
        if pattern[-1] == "**":
            pattern = pattern[:-1]
            if len(elements) <= len(pattern):
                return False
            elements = elements[:len(pattern)]
        return len(pattern) == len(elements) and all(p in ("*", e) for p, e in zip(pattern, elements))
