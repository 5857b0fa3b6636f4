"""Bus envelopes of layered services: chapter 11. `hpke.py` opens what keys hold."""
from __future__ import annotations

import hmac

import hpke
from base import _table
from reader import *

BUS_KIND, BUS_SCHEME = _table("bus-kinds"), _table("bus-auth")
_KIND_NAME = {number: name for name, number in BUS_KIND.items()}
_SCHEME_NAME = {number: name for name, number in BUS_SCHEME.items()}
_TAG_SIZE = {"none": 0, "mac": 32, "signature": 64}


@dataclass
class Envelope:
    kind: str
    scheme: str
    key_id: bytes
    sender: bytes
    payload: bytes
    tag: bytes = b""

    @classmethod
    def decode(cls, data: bytes, body_max: int) -> Envelope:
        with exactly(data, "NAT-10") as cursor:
            require(cursor.u(8) == 0, "NAT-10", "another version")
            kind, scheme = _KIND_NAME.get(cursor.u(8)), _SCHEME_NAME.get(cursor.u(8))
            require(kind, "NAT-10", "an unknown kind")
            require(scheme in _TAG_SIZE, "NAT-10", "a scheme that no envelope has")
            require(kind not in ("ask", "keys") or scheme == "signature", "NAT-10", "an ask and keys are signed")
            key_id = cursor.take(16)
            bare = scheme == "none" or (kind, scheme) == ("answer", "signature")
            require(not bare or key_id == bytes(16), "NAT-10", "a key id where there is no key")
            sender, tag = cursor.take(32), cursor.take(_TAG_SIZE[scheme])
            payload = cursor.rest()
        require(len(payload) <= body_max + LIMIT["envelope-overhead-max"], "NAT-10", "too long", "limit")
        return cls(kind, scheme, key_id, sender, payload, tag)

    def header(self) -> bytes:
        return u(0, 8) + u(BUS_KIND[self.kind], 8) + u(BUS_SCHEME[self.scheme], 8) + self.key_id + self.sender

    def encode(self) -> bytes:
        return self.header() + self.tag + self.payload

    def tagged(self, head: bytes) -> bytes:
        return self.header() + head + self.payload

    def authenticate(self, head: bytes, key: bytes = b"") -> Envelope:
        """With its tag; `key` is the MAC key, or the seed of the sender."""
        match self.scheme:
            case "mac":
                return replace(self, tag=hmac.digest(key, self.tagged(head), "sha256"))
            case "signature":
                return replace(self, tag=sign(key, "bus", self.tagged(head)))
        return self

    def check(self, head: bytes, scheme: str, mac_key: bytes | None, rule: str) -> None:
        """The tag, where the receiver demands `scheme`."""
        require(self.scheme == scheme, rule, f"{self.scheme}, where {scheme} is demanded")
        if scheme == "mac":
            require(hmac.compare_digest(self.tag, hmac.digest(mac_key, self.tagged(head), "sha256")), rule, "the tag is wrong")
        if scheme == "signature":
            try:
                verify_signature(self.sender, "bus", self.tagged(head), self.tag)
            except Malformed as error:
                raise Malformed(rule, str(error)) from None


def bus_layers(payload: bytes, body_max: int, rule: str, first: int) -> list[Layer]:
    """The layers of a payload, of which the first has the number `first`."""
    # An answer's frames are read as if layers came before: only which of them is the origin depends on the number.
    assembler, cursor = Assembler("request", Message([None] * first)), Cursor(payload)
    while cursor:
        try:
            one = read_frame(cursor, "request")
        except Incomplete:
            raise Malformed(rule, "the payload ends within a frame") from None
        require(one.name in ("layer", "body", "end"), rule, f"{one.name or 'an unknown frame'} on the bus")
        assembler.feed(one)
        require(sum(map(len, assembler.pieces)) <= body_max, "LIM-2", "a body above body-max", "limit")
    require(not assembler.open, rule, "the payload ends within a layer")
    return assembler.message.layers[first:]


def _check_signed(layers: list[Layer], first: int, prev: bytes) -> list[bytes]:
    """Their hashes; the signature of each that has one is checked."""
    hashes = []
    for number, layer in enumerate(layers, first):
        prev = layer.hash(number, prev)
        if layer.is_signed:
            verify_signature(layer.actor, "layer", prev, layer.signature)
        hashes.append(prev)
    return hashes


@dataclass
class BusRequest:
    layers: list[Layer]
    head: bytes

    @classmethod
    def read(cls, envelope: Envelope, body_max: int, scheme: str, mac_key: bytes | None) -> BusRequest:
        require(envelope.kind == "request", "NAT-10", "no request")
        layers = bus_layers(envelope.payload, body_max, "NAT-11", 0)
        steps = [STEP_NAME.get(layer.step) for layer in layers]
        require(len(layers) > 2 and steps == ["origin", "admit"] + ["resolve"] * (len(layers) - 3) + ["dispatch"], "NAT-11", "other layers")
        require(all(layer.actor == envelope.sender for layer in layers[1:]), "NAT-11", "a layer of somebody else")
        require(all(layer.status < 400 for layer in layers), "NAT-11", "a refusal goes no further")
        hashes, dispatch = chain(layers), layers[-1]
        require(dispatch.get("subject") is not None and dispatch.get("deadline") is not None, "NAT-11", "the dispatch layer lacks a field")
        require(dispatch.get("head") == hashes[-2], "NAT-11", "`head` is not the hash of the layer before")
        require(dispatch.get("bus-auth") == u(BUS_SCHEME[envelope.scheme], 8), "NAT-11", "`bus-auth` is another scheme than the envelope's")
        envelope.check(hashes[-1], scheme, mac_key, "NAT-7")
        try:
            _check_signed(layers, 0, ZERO)
        except Malformed as error:
            raise Malformed("NAT-7", str(error)) from None
        return cls(layers, hashes[-1])

    @property
    def target(self) -> bytes:
        return next((layer.get("resolved") for layer in reversed(self.layers) if layer.get("resolved") is not None), self.layers[0].get("target"))


def read_bus_answer(envelope: Envelope, body_max: int, scheme: str, mac_key: bytes | None, number: int, head: bytes) -> tuple[Layer, bytes]:
    """The serve layer that continues `head` as the layer `number`, and its hash."""
    require(envelope.kind == "answer", "NAT-10", "no answer")
    layers = bus_layers(envelope.payload, body_max, "NAT-12", 1)
    require(len(layers) == 1, "NAT-12", "not exactly one layer")
    layer = layers[0]
    require(layer.step == STEP["serve"] and layer.status >= 200 and layer.actor == envelope.sender, "NAT-12", "not the sender's serve layer")
    envelope.check(head, scheme, mac_key, "NAT-8")
    try:
        return layer, _check_signed(layers, number, head)[0]
    except Malformed as error:
        raise Malformed("NAT-8", str(error)) from None


@dataclass
class Ask:
    node: bytes
    instance: bytes
    sealing_key: bytes
    time: int

    def encode(self) -> bytes:
        return self.node + self.instance + self.sealing_key + u(self.time, 64)

    @classmethod
    def read(cls, envelope: Envelope, node: bytes, at: int) -> Ask:
        require(envelope.kind == "ask", "NAT-10", "no ask")
        with exactly(envelope.payload, "NAT-10") as cursor:
            ask = cls(cursor.take(32), cursor.take(16), cursor.take(32), cursor.time())
        require(ask.node == node, "NAT-20", "for another node")
        require(abs(ask.time - at) <= LIMIT["clock-skew-max"] * 1_000_000, "NAT-20", "too old, or of the future")
        envelope.check(ZERO, "signature", None, "NAT-20")
        return ask


def seal_keys(ask: Ask, ask_hash: bytes, keys: KeyList, request_key: bytes, answer_key: bytes, ephemeral: bytes) -> bytes:
    """The payload of keys."""
    enc, sealed = hpke.seal(ask.sealing_key, ephemeral, BINDING["bus-keys-info"].encode(), ask_hash, request_key + answer_key)
    return varint(len(keys.encode())) + keys.encode() + enc + sealed


def read_keys(envelope: Envelope, ask: Envelope, secret: bytes, at: int) -> tuple[KeyList, bytes, bytes]:
    """Key list, request key and answer key, by NAT-21; `secret` is that of the ask's X25519 key."""
    require(envelope.kind == "keys", "NAT-10", "no keys")
    hash = H(ask.encode())
    envelope.check(hash, "signature", None, "NAT-21")
    require(envelope.key_id == ask.key_id, "NAT-21", "keys of another id")
    with exactly(envelope.payload, "NAT-10") as cursor:
        keys = KeyList.decode(cursor.take(within(cursor.varint(), "keys-frame-max")))
        enc, sealed = cursor.take(32), cursor.take(80)
    try:
        keys.check(ask.payload[:32])
    except Malformed as error:
        raise Malformed("NAT-21", str(error)) from None
    require(envelope.sender in keys.valid("layer", at), "NAT-21", "the sender is no layer key of the node")
    plain = hpke.open_sealed(secret, enc, BINDING["bus-keys-info"].encode(), hash, sealed)
    require(plain, "NAT-21", "they don't open")
    return keys, plain[:32], plain[32:]
