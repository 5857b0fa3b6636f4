"""An independent reader and writer of CMTP version 0, made from the chapters in ../spec and the tables in ../registry.

It is a reference for implementers: plain, short and strict rather than fast. Python 3.11, standard library only.

    python3 reader.py verify FILE [--pin DID]      prints the verdict of a stored message

Reading has three outcomes: a value, `Incomplete` (the bytes so far are the beginning of something valid), or `Malformed`,
which carries the id of the rule that was broken. Whatever can be read can be written again: every class has `encode`.

    message = Message.decode(data)                 a stored file: chapter 12
    verdict = verify(message, pin=root_key)        chapters 4, 5 and 13
    findings = process_findings(message)           chapter 7
    read_request(data), read_answer(origin, data)  one direction of a request stream: chapter 9
    parse_fqmn(b"0xS:echo"), subject(fqmn), Pattern(b"0xS:**").covers(fqmn, "read")

The sections follow the chapters. Beside it: base.py (registry, varints), ed25519.py (chapter 5), fqmn.py (chapter 6), process.py
(chapter 7), log.py (chapter 18, and trees); all their names are also names of this module.
"""
from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field as default, replace
from pathlib import Path

from base import *
from ed25519 import *
from fqmn import *
from log import *
from process import *

# --- chapter 2: frames --------------------------------------------------------------------------------------------------

_FRAME_LIMIT = {"interim": "seal-frame-max"} | {name: f"{name}-frame-max" for name in FRAME if name != "interim"}


@dataclass
class Frame:
    type: int
    payload: bytes

    @property
    def name(self) -> str | None:
        """None: unknown and of odd type, to be skipped."""
        return FRAME_NAME.get(self.type)

    def encode(self) -> bytes:
        return varint(self.type) + varint(len(self.payload)) + self.payload


def frame(name: str, payload: bytes) -> bytes:
    return Frame(FRAME[name], payload).encode()


def read_frame(cursor: Cursor, stream: str) -> Frame:
    """One frame of a stream of the kind `request` (in either direction), `stored` or `control`; the payload is not looked at."""
    number = cursor.varint()
    name = FRAME_NAME.get(number)
    require(name or number % 2, "FRM-3", f"unknown frame {number:#x}", "unknown-critical")
    require(not name or stream in FRAME_STREAMS[name], "FRM-5", f"{name} on a {stream} stream", "unexpected")
    length = cursor.varint()
    if name:
        within(length, _FRAME_LIMIT[name])
    else:
        within(length, "unknown-frame-max", "FRM-4")
    return Frame(number, cursor.take(length))


@dataclass
class Auth:
    token: bytes | None = None
    signature: bytes | None = None
    digest: bytes | None = None

    @classmethod
    def decode(cls, payload: bytes) -> Auth:
        with exactly(payload) as cursor:
            form = cursor.varint()
            require(form in (0, 1), "FRM-18", "AUTH has form 0 or 1")
            if form == 0:
                return cls(digest=cursor.take(32))
            auth = cls(signature=cursor.take(64), token=cursor.rest())
            require(auth.token, "FRM-18", "the token is empty")
            within(len(auth.token), "token-max", "FRM-18")
            return auth

    def encode(self) -> bytes:
        return b"\0" + self.digest if self.digest is not None else b"\1" + self.signature + self.token


def decode_settings(payload: bytes) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    with exactly(payload) as cursor:
        while cursor:
            pairs.append((cursor.varint(), cursor.varint()))
            require(len(pairs) < 2 or pairs[-2][0] < pairs[-1][0], "FRM-19", "identifiers ascend strictly")
    return pairs


def encode_settings(pairs: list[tuple[int, int]]) -> bytes:
    return b"".join(varint(identifier) + varint(value) for identifier, value in pairs)


def decode_goaway(payload: bytes) -> int:
    with exactly(payload) as cursor:
        return cursor.varint()

# --- chapter 3: fields and layers ---------------------------------------------------------------------------------------

EFFECT_FIELDS = ("outcome-unknown", "no-effect")
_NAME = re.compile(rb"[a-z0-9!#$%&'*+\-.^_`|~]+")


@dataclass(frozen=True)
class Field:
    name: str
    value: bytes

    @classmethod
    def read(cls, cursor: Cursor, klass: str) -> Field:
        """`klass` is the list in which the field stands: public or private."""
        index = cursor.varint()
        if index:
            require(index in FIELD_NAME, "FLD-2", f"no field has the number {index}")
            name = FIELD_NAME[index]
        else:
            raw = cursor.take(within(cursor.varint(), "field-name-max"))
            require(_NAME.fullmatch(raw), "FLD-1", "not a name")
            name = raw.decode()
            require(name not in FIELD, "FLD-2", f"{name} has a number")
        value = cursor.take(within(cursor.varint(), "field-value-max"))
        if FIELD.get(name, 0) >= OWN_FIELDS:
            require(FIELD_CLASS[name] == klass, "FLD-5", f"{name} is {FIELD_CLASS[name]}")
            _check_kind(FIELD_KIND[name], value)
        return cls(name, value)

    def encode(self) -> bytes:
        name = self.name.encode()
        number = FIELD.get(self.name)
        return (varint(number) if number else b"\0" + varint(len(name)) + name) + varint(len(self.value)) + self.value

    def hashed(self) -> bytes:
        """How it stands in a leaf."""
        return u(len(self.name), 16) + self.name.encode() + u(len(self.value), 32) + self.value


def _check_kind(kind: str, value: bytes) -> None:
    size = {"flag": 0, "number": 8, "time": 8, "id": 16, "key": 32, "digest": 32, "mode": 1, "kind": 1, "scheme": 1}.get(kind)
    require(size is None or len(value) == size, "FLD-6", f"not a {kind}")
    if kind == "text":
        decode_utf8(value, "FLD-6")
    elif kind == "json":
        check_args(value)
    elif kind == "time":
        require(int.from_bytes(value, "big") < TIME_END, "FLD-6", "a time is below 2^62")
    elif kind == "id":
        require(value[6] >> 4 == 7 and value[8] >> 6 == 2, "FLD-6", "not a UUIDv7")


def check_once(fields: list[Field]) -> None:
    own = [field.name for field in fields if FIELD.get(field.name, 0) >= OWN_FIELDS]
    require(len(own) == len(set(own)), "FLD-4", "one of CMTP's own fields stands twice")


@dataclass(frozen=True)
class Private:
    """A private field with its salt or, withheld, its leaf hash alone."""
    salt: bytes | None = None
    field: Field | None = None
    withheld: bytes | None = None

    def leaf(self) -> bytes:
        return self.withheld or H(TAG["private-leaf"], self.salt, self.field.hashed())

    def encode(self) -> bytes:
        return b"\1" + self.withheld if self.withheld else b"\0" + self.salt + self.field.encode()


@dataclass
class Layer:
    """A layer as it travels: full, with parts withheld, or redacted to its core (`redacted`)."""
    step: int
    flags: int
    status: int
    actor: bytes
    time: int
    public_salt: bytes = bytes(16)
    public: list[Field] = default(default_factory=list)
    private: list[Private] = default(default_factory=list)
    body: bytes | None = None
    body_salt: bytes | None = None
    body_withheld: bytes | None = None
    signature: bytes | None = None
    redacted: bytes | None = None

    @property
    def has_body(self) -> bool:
        return bool(self.flags & BODY)

    @property
    def is_signed(self) -> bool:
        return bool(self.flags & SIGNED)

    def get(self, name: str) -> bytes | None:
        fields = self.public + [private.field for private in self.private if private.field]
        return next((field.value for field in fields if field.name == name), None)

    @property
    def effect(self) -> list[str] | None:
        """The fields about a write's effect (PRC-6); None where the layer is withheld."""
        return None if self.redacted else [name for name in EFFECT_FIELDS if self.get(name) is not None]

    # LAYER, BODY and END, or CORE

    @classmethod
    def decode(cls, payload: bytes, number: int, stream: str) -> Layer:
        """The payload of LAYER. A body and its signature come later, by `close`."""
        with exactly(payload) as cursor:
            layer = cls(step=cursor.varint(), flags=cursor.varint(), status=cursor.varint(), actor=cursor.take(32),
                        time=cursor.varint())
            require(layer.step < 1 << 16, "LAY-10", "a step is below 2^16")
            layer.check(number)
            require(stream == "stored" or not layer.flags & BODY_UNREAD, "LAY-2", "body-unread on a request stream")
            count = within(cursor.varint(), "fields-max")
            layer.public_salt = cursor.take(16)
            layer.public = [Field.read(cursor, "public") for _ in range(count)]
            more = cursor.varint()
            within(count + more, "fields-max")
            for _ in range(more):
                form = cursor.u(8)
                require(form in (0, 1), "FRM-6", "a private field has form 0 or 1")
                require(form == 0 or stream == "stored", "FRM-6", "a withheld field on a request stream")
                layer.private.append(Private(withheld=cursor.take(32)) if form else
                                     Private(cursor.take(16), Field.read(cursor, "private")))
            check_once(layer.public + [private.field for private in layer.private if private.field])
            if layer.is_signed and not layer.has_body:
                layer.signature = cursor.take(64)
        if number == 0:
            for name in ("message-id", "audience", "target", "not-after"):
                require(layer.get(name) is not None, "LAY-8", f"the origin has no {name}")
        return layer

    def close(self, end: bytes, body: bytes | None, stream: str) -> None:
        """END's payload; `body` is None where no BODY frame came."""
        with exactly(end) as cursor:
            form = cursor.u(8)
            require(form in (0, 1), "FRM-9", "END has form 0 or 1")
            require(form == 0 or (stream == "stored" and body is None), "FRM-9", "a withheld body may not stand here")
            if form:
                self.body_withheld = cursor.take(32)
            else:
                self.body_salt, self.body = cursor.take(16), body or b""
            if self.is_signed:
                self.signature = cursor.take(64)

    @classmethod
    def decode_core(cls, payload: bytes) -> Layer:
        with exactly(payload) as cursor:
            core = cursor.take(152)
            layer = cls(step=int.from_bytes(core[2:4], "big"), flags=int.from_bytes(core[4:6], "big"),
                        status=int.from_bytes(core[6:8], "big"), time=int.from_bytes(core[16:24], "big"),
                        actor=core[24:56], redacted=core)
            if layer.is_signed:
                layer.signature = cursor.take(64)
        return layer

    def check(self, number: int) -> None:
        """The rules of chapter 3 on step, flags and status."""
        flags, origin = self.flags, self.step == STEP["origin"]
        require(not flags & ~sum(FLAG.values()), "LAY-1", "a flag bit that is not listed")
        require(not flags & BODY_UNREAD or number == 0 and not flags & (BODY | SIGNED), "LAY-2", "body-unread may not stand here")
        require(not flags & (COMPLETE | CUT) or self.step == STEP["segment"], "LAY-3", "complete and cut are for segments")
        require(flags & (COMPLETE | CUT) != COMPLETE | CUT, "LAY-3", "complete and cut stand together")
        require(origin == (number == 0), "LAY-4", "layer 0, and no other, is the origin")
        require(number or self.status == 0, "LAY-4", "the origin has status 0")
        require(self.status <= LIMIT["status-max"], "LAY-5", "a status is at most status-max")

    def encode(self) -> bytes:
        """The frames of the layer, the body cut as in the stored form."""
        signature = self.signature if self.is_signed else b""
        if self.redacted:
            return frame("core", self.redacted + signature)
        parts = [varint(self.step), varint(self.flags), varint(self.status), self.actor, varint(self.time),
                 varint(len(self.public)), self.public_salt, *(field.encode() for field in self.public),
                 varint(len(self.private)), *(private.encode() for private in self.private)]
        if not self.has_body:
            return frame("layer", b"".join(parts) + signature)
        size, body = LIMIT["body-frame-max"], self.body or b""
        pieces = [frame("body", body[at:at + size]) for at in range(0, len(body), size)]
        end = b"\1" + self.body_withheld if self.body_withheld else b"\0" + self.body_salt
        return frame("layer", b"".join(parts)) + b"".join(pieces) + frame("end", end + signature)

    # chapter 4

    def public_leaf(self) -> bytes:
        return H(TAG["public-leaf"], self.public_salt, u(len(self.public), 16), *(field.hashed() for field in self.public))

    def root(self) -> bytes:
        return fields_root([self.public_leaf(), *(private.leaf() for private in self.private)])

    def body_hash(self) -> bytes:
        if not self.has_body:
            return ZERO
        return self.body_withheld or H(TAG["body"], self.body_salt, u(len(self.body), 64), H(self.body))

    def core(self, number: int, prev: bytes) -> bytes:
        return self.redacted or b"".join([
            u(BINDING["version"], 16), u(self.step, 16), u(self.flags, 16), u(self.status, 16), u(number, 32),
            u(len(self.public), 16), u(len(self.private), 16), u(self.time, 64), self.actor, self.root(),
            self.body_hash(), prev])

    def hash(self, number: int, prev: bytes) -> bytes:
        return H(TAG["layer"], self.core(number, prev))

    def check_chain(self, number: int, prev: bytes) -> None:
        """What CORE must agree with, and the signature."""
        if self.redacted:
            core = self.redacted
            require(core[:2] == bytes(2), "FRM-11", "another version")
            require(core[8:12] == u(number, 32), "FRM-11", "another number")
            require(core[120:] == prev, "FRM-11", "another prev")
            require(self.time < TIME_END, "FRM-11", "a time is below 2^62")
            require(self.has_body or core[88:120] == ZERO, "FRM-11", "B without a body")
            try:
                self.check(number)
            except Malformed as error:
                raise Malformed("FRM-11", str(error)) from None
        if self.is_signed:
            try:
                verify_signature(self.actor, "layer", self.hash(number, prev), self.signature)
            except Malformed as error:
                raise Malformed("LAY-9", f"the layer's signature: {error}", "bad-chain") from None

    # making layers

    def sign(self, seed: bytes, number: int, prev: bytes) -> Layer:
        signed = replace(self, flags=self.flags | SIGNED, actor=public_key(seed))
        return replace(signed, signature=sign(seed, "layer", signed.hash(number, prev)))

    def withhold_field(self, index: int) -> Layer:
        private = list(self.private)
        private[index] = Private(withheld=private[index].leaf())
        return replace(self, private=private)

    def withhold_body(self) -> Layer:
        return replace(self, body=None, body_salt=None, body_withheld=self.body_hash())

    def withhold(self, number: int, prev: bytes) -> Layer:
        return Layer.decode_core(self.core(number, prev) + (self.signature or b""))

# --- chapter 4: hashing -------------------------------------------------------------------------------------------------


def fields_root(leaves: list[bytes]) -> bytes:
    return H(TAG["fields-root"], u(len(leaves), 32), *leaves)


def chain(layers: list[Layer]) -> list[bytes]:
    """L_0, L_1, …"""
    hashes: list[bytes] = []
    for number, layer in enumerate(layers):
        hashes.append(layer.hash(number, hashes[-1] if hashes else ZERO))
    return hashes


def seal_hash(name: str, key: bytes, layers: int, last: bytes) -> bytes:
    """`name` is the frame's: seal or interim."""
    return H(TAG["final-seal" if name == "seal" else "interim-seal"], key, u(layers, 32), last)

# --- chapter 13: key lists, entries, R0 ---------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class ListedKey:
    use: int
    key: bytes
    not_before: int
    not_after: int


@dataclass
class KeyList:
    root: bytes
    number: int
    keys: list[ListedKey]
    signature: bytes = b""

    @classmethod
    def decode(cls, payload: bytes) -> KeyList:
        with exactly(payload) as cursor:
            keys = cls(cursor.take(32), cursor.u(64), [])
            count = within(cursor.u(8), "keys-max", "RCP-12")
            require(count, "RCP-12", "a key list without keys")
            for _ in range(count):
                keys.keys.append(ListedKey(cursor.u(8), cursor.take(32), cursor.time(), cursor.time()))
            order = [(key.use, key.key, key.not_before) for key in keys.keys]
            require(all(a < b for a, b in zip(order, order[1:])), "RCP-1", "keys out of order")
            keys.signature = cursor.take(64)
        return keys

    def _unsigned(self) -> bytes:
        return b"".join([self.root, u(self.number, 64), u(len(self.keys), 8)] + [
            u(key.use, 8) + key.key + u(key.not_before, 64) + u(key.not_after, 64) for key in self.keys])

    def encode(self) -> bytes:
        return self._unsigned() + self.signature

    def sign(self, seed: bytes) -> KeyList:
        return replace(self, signature=sign(seed, "keys", self._unsigned()))

    def check(self, trusted: bytes | None = None, seen: int = 0) -> None:
        require(trusted in (None, self.root), "RCP-2", "another root key")
        require(self.number >= seen, "RCP-2", "an older list than one seen")
        try:
            verify_signature(self.root, "keys", self._unsigned(), self.signature)
        except Malformed as error:
            raise Malformed("RCP-2", f"the list's signature: {error}") from None

    def valid(self, use: str, time: int | None) -> list[bytes]:
        return [key.key for key in self.keys
                if key.use == KEY_USE[use] and (time is None or key.not_before <= time < key.not_after)]


def entry(type: int, opcode: int, flags: int, status: int, layers: int, time: int, message_id: bytes, seal: bytes) -> bytes:
    return b"".join([u(0, 8), u(type, 8), u(opcode, 16), u(flags, 16), u(status, 16), u(layers, 32), u(time, 64), message_id, seal])


def read_entry(data: bytes) -> dict:
    """The arguments of `entry`."""
    with exactly(data) as cursor:
        require(cursor.u(8) == 0, None, "another version")
        return {"type": cursor.u(8), "opcode": cursor.u(16), "flags": cursor.u(16), "status": cursor.u(16), "layers": cursor.u(32), "time": cursor.time(),
                "message_id": cursor.take(16), "seal": cursor.take(32)}


@dataclass
class Receipt:
    """R0."""
    log_origin: str
    first_index: int
    count: int
    root: bytes
    mode: int
    time: int
    merge_delay: int
    signature: bytes
    type: int
    opcode: int
    flags: int
    message_id: bytes
    offset: int
    path: list[bytes]

    @classmethod
    def decode(cls, payload: bytes) -> Receipt:
        with exactly(payload) as cursor:
            name = cursor.take(cursor.u(8))
            require(name and all(0x21 <= byte <= 0x7e and byte != ord("+") for byte in name), "RCP-13", "not a log origin")
            receipt = cls(name.decode(), cursor.u(64), cursor.u(32), cursor.take(32), cursor.u(8), cursor.time(),
                          cursor.u(32), cursor.take(64), cursor.u(8), cursor.u(16), cursor.u(16), cursor.take(16), cursor.u(32), [])
            require(receipt.count, "RCP-13", "a commit without entries")
            require(receipt.offset < receipt.count, "RCP-13", "an offset outside the commit")
            require((receipt.first_index == NO_INDEX) == (receipt.mode != MODE["wal"]), "RCP-3", "mode and first index do not agree")
            require(bool(receipt.flags & ENTRY_FLAG["async"]) == (receipt.mode == MODE["async"]), "RCP-14", "mode and the entry flag async do not agree")
            length = cursor.u(8)
            require(length <= LIMIT["commit-path-max"], "RCP-6", "a path longer than commit-path-max")
            receipt.path = [cursor.take(32) for _ in range(length)]
        return receipt

    def statement(self) -> bytes:
        return b"".join([u(len(self.log_origin), 8), self.log_origin.encode(), u(self.first_index, 64), u(self.count, 32), self.root,
                         u(self.mode, 8), u(self.time, 64), u(self.merge_delay, 32)])

    def encode(self) -> bytes:
        return b"".join([self.statement(), self.signature, u(self.type, 8), u(self.opcode, 16), u(self.flags, 16), self.message_id,
                         u(self.offset, 32), u(len(self.path), 8), *self.path])

    def sign(self, seed: bytes) -> Receipt:
        return replace(self, signature=sign(seed, "r0", self.statement()))

    def entry(self, status: int, layers: int, seal: bytes) -> bytes:
        return entry(self.type, self.opcode, self.flags, status, layers, self.time, self.message_id, seal)

    def check_signature(self, key: bytes) -> None:
        try:
            verify_signature(key, "r0", self.statement(), self.signature)
        except Malformed as error:
            raise Malformed("RCP-5", f"the receipt's signature: {error}") from None

    def check_entry(self, status: int, layers: int, seal: bytes, opcode: int | None, message_id: bytes | None) -> None:
        """`opcode` and `message_id` as the origin has them, or None where it is withheld."""
        require(opcode in (None, self.opcode), "RCP-4", "another opcode than the target's")
        require(message_id in (None, self.message_id), "RCP-4", "another message id than the origin's")
        require(path_leads(leaf_hash(self.entry(status, layers, seal)), self.offset, self.count, self.path, self.root),
                "RCP-4", "the path does not lead from the entry to the root")

# --- chapter 2 again: SEAL and INTERIM ----------------------------------------------------------------------------------


@dataclass
class Seal:
    """SEAL or INTERIM, by `name`. `items` are the known ones; `skipped` counts the others."""
    name: str
    key: bytes
    hash: bytes
    items: dict[int, bytes]
    skipped: int = 0

    @classmethod
    def decode(cls, payload: bytes, name: str, stream: str, layers: int, body_unread: bool | None = None) -> Seal:
        """`layers` is the number of layers so far; `body_unread` whether layer 0 has that flag (None: the item gives it)."""
        with exactly(payload) as cursor:
            seal = cls(name, cursor.take(32), cursor.take(32), {})
            last, known = -1, set(ITEM.values())
            while cursor:
                number = cursor.varint()
                require(number > last, "FRM-12", "items ascend strictly")
                require(number in known or number % 2, "FRM-13", f"unknown item {number:#x}", "unknown-critical")
                last = number
                within(len(seal.items) + seal.skipped + 1, "seal-items-max")
                item = cursor.take(cursor.varint())
                if number in known:
                    seal.items[number] = item
                else:
                    require(stream != "stored", "STO-2", "an unknown item in a stored message")
                    seal.skipped += 1
        seal._check(stream, layers, body_unread)
        return seal

    def _check(self, stream: str, layers: int, body_unread: bool | None) -> None:
        for name in ("unlogged", "recorded", "body-unread"):
            require(not self.get(name), "FRM-15", f"{name} is empty")
        if self.name == "interim":
            require(list(self.items) == [ITEM["r0"]], "FRM-14", "INTERIM carries r0 and no other known item")
        else:
            require((self.get("r0") is None) != (self.get("unlogged") is None), "FRM-14", "one of r0 and unlogged")
            require(body_unread is None or body_unread == (self.get("body-unread") is not None), "FRM-17",
                    "body-unread stands in SEAL and in layer 0, or in neither")
        if stream == "request":
            require(self.get("heads") is None and self.get("keys") is None, "FRM-16", "for saved files only")
        if self.get("heads") is not None:
            require(len(self.get("heads")) == 32 * layers, "FRM-15", "heads has one hash for each layer")
            within(layers, "heads-max")
        if self.get("proof") is not None:
            header = BINDING["tlog-proof-header"].encode() + b"\n"
            require(self.get("proof").startswith(header), "FRM-15", "proof begins with its header line")
            decode_utf8(self.get("proof"), "FRM-15")
            within(len(self.get("proof")), "checkpoint-frame-max")
        if self.get("keys") is not None:
            within(len(self.get("keys")), "keys-frame-max")
        self.receipt, self.keys = self._receipt(), self._keys()
        require(not self.receipt or (self.receipt.type == ENTRY_TYPE["segment"]) == (self.name == "interim"), "RCP-14",
                "the entry type is segment in INTERIM, and there alone")

    def get(self, name: str) -> bytes | None:
        return self.items.get(ITEM[name])

    def _receipt(self) -> Receipt | None:
        return None if self.get("r0") is None else Receipt.decode(self.get("r0"))

    def _keys(self) -> KeyList | None:
        return None if self.get("keys") is None else KeyList.decode(self.get("keys"))

    def heads(self) -> list[bytes]:
        data = self.get("heads") or b""
        return [data[at:at + 32] for at in range(0, len(data), 32)]

    def encode_payload(self) -> bytes:
        return self.key + self.hash + b"".join(
            varint(number) + varint(len(item)) + item for number, item in sorted(self.items.items()))

    def encode(self) -> bytes:
        return frame(self.name, self.encode_payload())

# --- chapters 9 and 12: messages ----------------------------------------------------------------------------------------


@dataclass
class Message:
    """Layers and seals, in the order in which they came. `interims` maps a number of layers to the interim seals that follow them."""
    layers: list[Layer] = default(default_factory=list)
    interims: list[tuple[int, Seal]] = default(default_factory=list)
    seal: Seal | None = None

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """A stored file."""
        require(len(data) <= LIMIT["stored-max"], "STO-4", "above stored-max", "limit")
        require(data[:8] == MAGIC, "STO-10", "not a stored message")
        with exactly(data[8:], "STO-1") as cursor:
            version = cursor.varint()
            require(version == BINDING["version"], "STO-6", f"version {version}")
            assembler = Assembler("stored")
            while cursor:
                assembler.feed(read_frame(cursor, "stored"))
        require(assembler.message.seal, "STO-1", "no SEAL")
        return assembler.message

    def encode(self) -> bytes:
        parts = [MAGIC, varint(BINDING["version"])]
        for number, layer in enumerate(self.layers, 1):
            parts += [layer.encode()] + [interim.encode() for after, interim in self.interims if after == number]
        return b"".join(parts + [self.seal.encode()])

    @property
    def origin(self) -> Layer | None:
        """None where it is withheld."""
        return None if self.layers[0].redacted else self.layers[0]

    def opcode(self) -> int | None:
        """The number of the opcode with which the target begins (0: with none) or, where the origin is withheld, R0's."""
        if not self.origin:
            return self.seal.receipt and self.seal.receipt.opcode
        return OPCODE.get(self.origin.get("target").decode().partition(":")[0], 0)


class Assembler:
    """Puts frames together to layers and seals; knows which frame may follow which."""

    def __init__(self, stream: str, message: Message | None = None):
        self.stream, self.message = stream, message or Message()
        self.open: Layer | None = None
        self.pieces: list[bytes] = []
        self.unknown = self.segments = 0

    def feed(self, frame: Frame) -> None:
        message = self.message
        if frame.name is None:
            require(self.stream != "stored", "STO-2", "an unknown frame in a stored message")
            self.unknown += 1
            within(self.unknown, "unknown-frames-max", "FRM-4")
            return
        require(not message.seal, "STO-1" if self.stream == "stored" else "QUI-19", "a frame after SEAL", "unexpected")
        if frame.name in ("body", "end"):
            require(self.open, "FRM-8", f"{frame.name} without an open layer")
        else:
            require(not self.open, "FRM-7", f"{frame.name} within a layer")
        getattr(self, f"_{frame.name}")(frame.payload)

    def _layer(self, payload: bytes) -> None:
        layer = Layer.decode(payload, len(self.message.layers), self.stream)
        self._append(layer)
        if layer.has_body:
            self.open = layer

    def _core(self, payload: bytes) -> None:
        self._append(Layer.decode_core(payload))

    def _append(self, layer: Layer) -> None:
        self.message.layers.append(layer)
        self.segments += layer.step == STEP["segment"]
        within(self.segments, "segments-max", "LAY-7")
        within(len(self.message.layers) - self.segments, "layers-max", "LAY-7")

    def _body(self, payload: bytes) -> None:
        require(payload, "FRM-8", "an empty BODY")
        full = LIMIT["body-frame-max"]
        require(self.stream != "stored" or not self.pieces or len(self.pieces[-1]) == full, "STO-3",
                "a BODY frame before the last is not full")
        self.pieces.append(payload)

    def _end(self, payload: bytes) -> None:
        self.open.close(payload, b"".join(self.pieces) if self.pieces else None, self.stream)
        self.open, self.pieces = None, []

    def _interim(self, payload: bytes) -> None:
        require(self.message.layers, "FRM-7", "INTERIM before a layer")
        count = len(self.message.layers)
        self.message.interims.append((count, Seal.decode(payload, "interim", self.stream, count)))

    def _seal(self, payload: bytes) -> None:
        layers = self.message.layers
        require(layers, "FRM-7", "SEAL before a layer")
        unread = bool(layers[0].flags & BODY_UNREAD) if self.stream == "stored" else None
        self.message.seal = Seal.decode(payload, "seal", self.stream, len(layers), unread)

    def _auth(self, payload: bytes) -> None:
        raise Malformed("QUI-9", "AUTH comes first, and once", "unexpected")


def _frames(data: bytes):
    """The frames of a request stream that was read to its end."""
    cursor = Cursor(data)
    while cursor:
        try:
            frame = read_frame(cursor, "request")
        except Incomplete:
            raise Malformed("QUI-18", "the stream ends within a frame") from None
        yield frame


def read_request(data: bytes) -> tuple[Auth | None, Layer]:
    """All that a client sends on a request stream."""
    assembler, auth, first = Assembler("request"), None, True
    for frame in _frames(data):
        if frame.name == "auth" and first:
            auth, first = Auth.decode(frame.payload), False
            continue
        first = first and frame.name is None                             # FRM-2
        done = assembler.message.layers and not assembler.open
        require(not done or frame.name is None, "QUI-19", "a frame after the origin's end", "unexpected")
        assembler.feed(frame)
    require(assembler.message.layers, "QUI-18", "no origin")
    require(not assembler.open, "QUI-18", "the stream ends within the origin")
    return auth, assembler.message.layers[0]


def read_answer(origin: Layer, data: bytes) -> Message:
    """All that a node sends on a request stream; gives the whole message, the origin included, not yet verified."""
    assembler = Assembler("request", Message([origin]))
    for frame in _frames(data):
        require(frame.name != "auth", "FRM-5", "AUTH in an answer", "unexpected")
        assembler.feed(frame)
    require(not assembler.open, "QUI-18", "the stream ends within a layer")
    message = assembler.message
    require(message.seal, "QUI-18", "the stream ends without SEAL")
    if message.seal.get("body-unread") is not None:                      # QUI-17
        require(origin.has_body, "FRM-17", "body-unread and no body")
        message.layers[0] = replace(origin, flags=origin.flags & ~(SIGNED | BODY) | BODY_UNREAD, body=None, body_salt=None,
                                    signature=None)
    return message

# --- chapter 13 again: verdicts -----------------------------------------------------------------------------------------

# The targets of chapter 22 that need no token.
SESSION_READS = tuple(BINDING[f"session-{name}"] for name in ("hello", "answer"))
SESSION_WRITES = tuple(BINDING[f"session-{name}"] for name in ("consent", "renew", "revoke"))


@dataclass
class Verdict:
    verdict: str                     # invalid, consistent or authentic
    rule: str | None = None
    place: int | str | None = None   # the layer at fault, "interim" or "seal" (STO-7)
    why: str = ""
    standing: str = "none"           # none, promised, logged or witnessed (LOG-18)
    hashes: list[bytes] = default(default_factory=list)
    seal: bytes = b""


def verify(message: Message, pin: bytes | None = None, keys: KeyList | None = None, policy: Policy | None = None) -> Verdict:
    """`pin` is the root key that the verifier trusts; `keys` that root's list, if it is known from elsewhere than the file;
    `policy` names the witnesses whose word is asked for."""
    hashes = chain(message.layers)
    seal = seal_hash("seal", message.seal.key, len(hashes), hashes[-1])
    verdict = Verdict("invalid", hashes=hashes, seal=seal)
    heads = message.seal.heads()
    try:
        for verdict.place, (listed, hash) in enumerate(zip(heads, hashes)):
            require(listed == hash, "STO-7", "not the hash listed in heads")
        for verdict.place, layer in enumerate(message.layers):
            layer.check_chain(verdict.place, hashes[verdict.place - 1] if verdict.place else ZERO)
        verdict.place = "interim"
        for count, interim in message.interims:
            _check_seal(message, interim, count, hashes)
        verdict.place = "seal"
        _check_seal(message, message.seal, len(hashes), hashes)
        trusted = _check_trust(message, pin, keys)
        verdict.standing = _standing(message, seal, keys or message.seal.keys, policy)
        verdict.verdict, verdict.place = trusted, None
    except Malformed as error:
        verdict.rule, verdict.why = error.rule, str(error)
    return verdict


def _check_seal(message: Message, seal: Seal, count: int, hashes: list[bytes]) -> None:
    computed = seal_hash(seal.name, seal.key, count, hashes[count - 1])
    require(seal.hash == computed, "HSH-5", "another seal hash")
    if seal.receipt:
        origin = message.origin
        seal.receipt.check_signature(seal.key)
        seal.receipt.check_entry(message_status(message.layers[:count]), count, computed,
                                 origin and message.opcode(), origin and origin.get("message-id"))
    else:
        _check_unlogged(message)


def _check_unlogged(message: Message) -> None:
    last, target = message.layers[-1], message.origin and message.origin.get("target").decode()
    refused = last.step == STEP["admit"] and last.status >= 400
    if refused and last.status in (401, 511) or not message.origin:
        return
    require(target in SESSION_READS + SESSION_WRITES, "RCP-10", "unlogged, and neither refused without a token nor of a handshake")
    require(refused or target in SESSION_READS, "RCP-10", "an unlogged write of a handshake that was not refused at admission")


def _check_trust(message: Message, pin: bytes | None, keys: KeyList | None) -> str:
    """Whether the keys of SEAL and INTERIM are the pinned root's."""
    if message.seal.keys:
        try:
            message.seal.keys.check()
        except Malformed as error:
            raise Malformed("RCP-11", str(error)) from None
    if pin is None:
        return "consistent"
    last = message.layers[-1]
    refused_for_it = last.step == STEP["admit"] and last.status == 421
    forwarded = any(layer.step == STEP["forward"] for layer in message.layers)
    if message.origin and not forwarded and not refused_for_it:
        require(message.origin.get("audience") == pin, "RCP-9", "made for another node")
    keys, seals = keys or message.seal.keys, [interim for _, interim in message.interims] + [message.seal]
    if keys is None:
        require(not any(seal.receipt for seal in seals), "RCP-8", "a receipt and no key list")
        return "consistent"
    require(keys.root == pin, "RCP-8", "the key list has another root")
    keys.check(pin)
    for seal in seals:
        require(seal.key in keys.valid("layer", seal.receipt.time if seal.receipt else None), "RCP-8",
                f"the key of {seal.name.upper()} is no layer key of the list")
    return "authentic" if message.seal.receipt else "consistent"


def _standing(message: Message, computed: bytes, keys: KeyList | None, policy: Policy | None) -> str:
    """Chapter 18: what is known of the entry in the log."""
    receipt, item = message.seal.receipt, message.seal.get("proof")
    if item is None:
        return "promised" if receipt and receipt.mode != MODE["none"] else "none"
    require(receipt, "LOG-11", "a proof without R0")
    proof = LogProof.parse(decode_utf8(item, "LOG-9"))
    checkpoint = proof.checkpoint
    if receipt.mode == MODE["wal"]:
        require(proof.index == receipt.first_index + receipt.offset, "LOG-11", "another index than R0's")
        require(checkpoint.origin == receipt.log_origin, "LOG-11", "another log than R0's")
    proof.check_path(leaf_hash(receipt.entry(message_status(message.layers), len(message.layers), computed)))
    if keys:
        try:
            node = read_origin(checkpoint.origin)[0]
        except Malformed as error:
            raise Malformed("LOG-11", str(error)) from None
        require(node == keys.root, "LOG-11", "the checkpoint is of another node's log")
        logs = [VerifierKey(checkpoint.origin, LOG_KEY, key) for key in keys.valid("log", None)]
    else:
        logs = [log for log in policy.logs if log.name == checkpoint.origin] if policy else []
        if not logs:
            return "promised"
    require(checkpoint.signed_by_any(logs), "LOG-11", "not signed by a log key of the node")
    if policy and policy.quorum:
        _, quorum, log = policy.judge(checkpoint)
        if quorum and log:
            return "witnessed"
    return "logged"


def grades(message: Message, verdict: Verdict) -> list[str]:
    return [("signed by caller" if number == 0 else "signed by service") if layer.is_signed else
            "vouched by node" if verdict.verdict == "authentic" else "unproved" for number, layer in enumerate(message.layers)]


def process_findings(message: Message) -> Malformed | None:
    """What chapter 7 finds in a message: None if nothing."""
    opcode = message.opcode()
    try:
        require(opcode is not None, None, "the opcode is not known")
        check_process(opcode, message.layers)
        own = [layer.time for number, layer in enumerate(message.layers) if number and layer.actor == message.seal.key]
        require(own == sorted(own), "PRC-7", "the node's times go back")
        for layer in message.layers:
            if layer.step == STEP["resolve"] and layer.status < 400 and not layer.redacted:
                require(layer.get("resolved") is not None, "PRC-8", "a resolve layer without resolved")
                read = message.origin and not parse_target(message.origin.get("target")).is_write
                require(not read or not parse_target(layer.get("resolved")).is_write, "PRC-8", "a read became a write")
    except Malformed as error:
        return error
    return None

# --- command line -------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    match arguments:
        case ["verify", file]:
            pin = None
        case ["verify", file, "--pin", did] | ["verify", "--pin", did, file]:
            pin = key_of_did(did)
        case _:
            print(__doc__)
            return 2
    try:
        message = Message.decode(Path(file).read_bytes())
    except Malformed as error:
        print(f"invalid: {error}")
        return 1
    verdict = verify(message, pin)
    place = {None: "", "seal": " at the seal", "interim": " at an interim seal"}.get(verdict.place, f" at layer {verdict.place}")
    print(f"{verdict.verdict}{place}{': ' + verdict.why if verdict.why else ''}")
    for number, (layer, grade) in enumerate(zip(message.layers, grades(message, verdict))):
        print(f"  {number:3} {STEP_NAME.get(layer.step, hex(layer.step)):9} {layer.status:3} {verdict.hashes[number].hex()[:16]} {grade}")
    print(f"  seal {verdict.seal.hex()} by {did_of(message.seal.key)}")
    finding = process_findings(message)
    print(f"  process: {finding or 'ok'}")
    return int(verdict.verdict == "invalid")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
