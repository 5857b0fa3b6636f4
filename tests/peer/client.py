#!/usr/bin/env python3
"""A small CMTP client, written from the chapters of cmtp-spec alone, as an example for implementers.

    client.py call HOST PORT --pin DID --seed HEX [--token TOKEN] TARGET [--data TEXT] [--args JSON] [--save FILE] [--twice]

Prints the answer's body to stdout, the verdict to stderr. Exit status: 0 done, 1 the node refused, 2 no answer that verifies.
`--pin` is the node's DID, `--seed` the caller's Ed25519 secret, `--token` what `cmtpd grant` printed; without it the node
answers 511. `--save` writes the exchange as a `.cmtp` file. `--twice` sends a second request on the same connection.

QUIC and TLS are aioquic's. The codec (frames, layers, hashes, verdicts) is the reader of cmtp-spec/vectors. What is here is the
rest: the connection (chapter 9), the caller's side of admission (chapter 10), and what a client checks before it believes an
answer. Rule ids such as [QUI-9] stand beside the code that obeys them. A client with a memory does one thing more: it keeps
the highest key list number that it saw of each root key, and refuses a lower one [RCP-2].
"""
from __future__ import annotations

import argparse
import asyncio
import hashlib
import secrets
import ssl
import sys
import time
from dataclasses import replace
from pathlib import Path

from aioquic import tls
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset
from aioquic.quic.packet import QuicProtocolVersion
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cmtp-spec" / "vectors"))
import base                                                                                              # noqa: E402
from reader import (BINDING, BODY, ITEM, LIMIT, MODE, SIGNED, STEP, ZERO, Auth, Cursor, Field, Frame,           # noqa: E402
                    Incomplete, KeyList, Layer, Malformed, Message, Private, Verdict, chain, check_args, decode_goaway,
                    decode_settings, desugar, frame, key_of_did, message_status, process_findings, read_answer, read_frame,
                    require, signed_bytes, u, verify, within)

CLOSE_CODE, STREAM_TYPE = base._table("close-codes"), base._table("streams")
CLOSE_CODE["limit"] = CLOSE_CODE["limit-exceeded"]               # the reader's word for it


class Lost(Exception):
    """The connection or the stream ended before the answer did: the outcome of the request is unknown [QUI-23]."""


class Unverified(Exception):
    """An answer that must not be believed [QUI-20]."""

# --- chapter 9: AUTH ----------------------------------------------------------------------------------------------------


def exporter(schedule: tls.KeySchedule, name: str) -> bytes:
    """The exporter value (RFC 8446 section 7.5) with a label of the registry. aioquic has no call for it, so it is taken from its
    key schedule, which must stand at the master secret, with the server's Finished as the last message hashed."""
    label, algorithm, empty = BINDING[f"exporter-label-{name}"].encode(), schedule.algorithm, schedule.hash_empty_value
    master = schedule.derive_secret(b"exp master")
    secret = tls.hkdf_expand_label(algorithm, master, label, empty, algorithm.digest_size)
    return tls.hkdf_expand_label(algorithm, secret, b"exporter", empty, 32)


class Caller:
    """Who calls: a key and, perhaps, the token that names it (chapter 10)."""

    def __init__(self, seed: bytes, token: bytes | None):
        self._key, self.token = Ed25519PrivateKey.from_private_bytes(seed), token
        self.key = self._key.public_key().public_bytes_raw()
        self.token_digest = hashlib.sha256(token).digest() if token else ZERO

    def sign(self, use: str, payload: bytes) -> bytes:
        return self._key.sign(signed_bytes(use, payload))

    def auth(self, whole: bool, exporter_value: bytes, root: bytes) -> bytes:
        """The AUTH frame: the whole token with the proof of its key, or its digest [QUI-10]; nothing without a token [QUI-9]."""
        if not self.token:
            return b""
        if not whole:
            return frame("auth", Auth(digest=self.token_digest).encode())
        proof = self.sign("auth", exporter_value + root + self.token_digest)
        return frame("auth", Auth(token=self.token, signature=proof).encode())

# --- chapters 3, 4, 6: the origin ---------------------------------------------------------------------------------------


def now() -> int:
    """A time: microseconds since 1970 (chapter 1)."""
    return time.time_ns() // 1000


def message_id(at: int) -> bytes:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, the rest random but for version and variant."""
    data = bytearray(u(at // 1000, 48) + secrets.token_bytes(10))
    data[6] = 0x70 | data[6] & 0x0f
    data[8] = 0x80 | data[8] & 0x3f
    return bytes(data)


def make_origin(caller: Caller, root: bytes, target: str, args: str | None, body: bytes | None, literal: list[Field] = ()) -> Layer:
    """Layer 0, signed. `target` is what a person typed; its sugar ends here [FQN-9]. Literal fields are private (chapter 3)."""
    fqmn, at, salts = desugar(target), now(), [secrets.token_bytes(16) for _ in range(3)]                # [HSH-6]
    args = fqmn.args if args is None else check_args(args.encode())
    public = [Field("message-id", message_id(at)), Field("audience", root),                              # [LAY-8]
              Field("target", ":".join(fqmn.elements).encode()), Field("not-after", u(at + 60_000_000, 64))]
    private = [Private(salts[1], Field("args", args.encode()))] if args is not None else []                # [FQN-8]
    private += [Private(secrets.token_bytes(16), field) for field in literal]
    origin = Layer(step=STEP["origin"], flags=SIGNED, status=0, actor=caller.key, time=at, public_salt=salts[0], public=public,
                   private=private)
    if body is not None:                                                                                 # [HSH-4]
        origin = replace(origin, flags=SIGNED | BODY, body=body, body_salt=salts[2])
    return replace(origin, signature=caller.sign("layer", origin.hash(0, ZERO)))

# --- chapter 9: the connection ------------------------------------------------------------------------------------------


class Incoming:
    """What the node sends on one stream, as frames; each length is held against its limit before the rest is waited for [LIM-1]."""

    def __init__(self, kind: str):
        self.kind, self.pending, self.all, self.body, self.unknown = kind, b"", bytearray(), 0, 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completed."""
        self.pending += data
        self.all += data
        cursor, new, used = Cursor(self.pending), [], 0
        try:
            while True:
                one = read_frame(cursor, self.kind)
                self.body = 0 if one.name == "layer" else within(self.body + len(one.payload) * (one.name == "body"), "body-max")
                self.unknown = within(self.unknown + (one.name is None), "unknown-frames-max", "FRM-4")
                new.append(one)
                used = cursor.at
        except Incomplete:
            self.pending = self.pending[used:]
        return new


class Connection(QuicConnectionProtocol):
    """A connection to one node: its control stream, its exporter value, and exchanges."""

    def __init__(self, quic, stream_handler=None):
        super().__init__(quic, stream_handler)
        self.streams: dict[int, Incoming | None] = {}                            # None: a stream that is not read any more
        self.answers: dict[int, asyncio.Future[bytes]] = {}
        self.keys: asyncio.Future[KeyList] = self._loop.create_future()
        self.control: int | None = None
        self.control_frames, self.exporter_value, self.session_value = 0, b"", b""
        self.answered: set[bytes] = set()                                        # digests of tokens that the node took
        self._install_key, quic._update_traffic_key = quic._update_traffic_key, self._traffic_key

    def _traffic_key(self, direction, epoch, cipher_suite, secret) -> None:
        """TLS has a new key. With the one to read 1-RTT packets the key schedule is where `exporter` needs it."""
        if (direction, epoch) == (tls.Direction.DECRYPT, tls.Epoch.ONE_RTT):
            self.exporter_value, self.session_value = (exporter(self._quic.tls.key_schedule, name) for name in ("auth", "session"))
        self._install_key(direction, epoch, cipher_suite, secret)

    async def trust(self, root: bytes) -> KeyList:
        """Reads the node's key list, and holds it against the pinned root and the certificate [QUI-3]."""
        require(self._quic.tls.alpn_negotiated == BINDING["alpn"], "QUI-1", "another ALPN")
        keys = await self.keys
        certified = self._quic.tls._peer_certificate.public_key()
        try:
            keys.check(trusted=root)                                                                     # [RCP-2]
            require(isinstance(certified, Ed25519PublicKey) and certified.public_bytes_raw() in keys.valid("tls", now()),
                    "QUI-3", "the key list does not have the certificate's key")
        except Malformed as error:
            self.close(CLOSE_CODE["untrusted"], str(error))
            raise
        return keys

    async def exchange(self, request: bytes) -> bytes:
        """One request stream [QUI-4]: all that the node sent on it, to its end."""
        if self._closed.is_set():
            raise Lost("the connection ended before the request")
        stream = self._quic.get_next_available_stream_id()
        self.streams[stream], self.answers[stream] = Incoming("request"), self._loop.create_future()
        self._quic.send_stream_data(stream, request, end_stream=True)
        self.transmit()
        return await self.answers[stream]

    # What comes in. A STOP_SENDING [QUI-17] needs nothing: aioquic stops sending, and the answer is read all the same.
    def quic_event_received(self, event) -> None:
        match event:
            case StreamDataReceived(data, end, stream):
                try:
                    self._received(stream, data, end)
                except Malformed as error:
                    self._fail(stream, error)
            case StreamReset(code, stream) if stream == self.control:
                self._fail(stream, Malformed("QUI-7", "the control stream ended", "closed-critical-stream"))
            case StreamReset(code, stream) if stream in self.answers:
                self._give_up(self.answers[stream], Lost(f"the node reset the stream, code {code:#x}"))
            case ConnectionTerminated(code, _, reason):
                for waiting in [self.keys, *self.answers.values()]:
                    self._give_up(waiting, Lost(f"the connection ended, code {code:#x} {reason}"))

    def _received(self, stream: int, data: bytes, end: bool) -> None:
        if stream not in self.streams:
            require(stream & 2, "QUI-4", "a bidirectional stream that the node opened", "stream-creation")
            self.streams[stream] = Incoming("control")
        incoming = self.streams[stream]
        if incoming and stream not in (self.control, *self.answers):
            incoming.pending += data
            incoming, data = self._begin(stream, incoming), b""
        if not incoming:
            return
        frames = incoming.feed(data)
        if stream == self.control:
            for one in frames:
                self._control_frame(one)
            require(not end, "QUI-7", "the control stream ended", "closed-critical-stream")
        elif end:
            self.answers[stream].set_result(bytes(incoming.all))

    def _begin(self, stream: int, incoming: Incoming) -> Incoming | None:
        """Reads the type of a unidirectional stream [QUI-5]. None: it is not there yet, or not one to be read."""
        cursor = Cursor(incoming.pending)
        try:
            kind = cursor.varint()
        except Incomplete:
            return None
        if kind == STREAM_TYPE["control"]:
            require(self.control is None, "QUI-7", "a second control stream", "stream-creation")
            self.control, incoming.pending = stream, cursor.rest()
        else:
            self._quic.stop_stream(stream, CLOSE_CODE["no-error"])
            self.streams[stream] = None
        return self.streams[stream]

    def _control_frame(self, one: Frame) -> None:
        """SETTINGS, KEYS, and what comes after them [QUI-6]. This client has no use for what SETTINGS and GOAWAY say."""
        if one.name is None:                                                                             # [FRM-2]
            return
        self.control_frames += 1
        first, second = self.control_frames == 1, self.control_frames == 2
        require((one.name == "settings") == first, "QUI-7", "SETTINGS come first, and once", "settings")
        require(one.name == "keys" or not second, "QUI-6", "KEYS come second", "unexpected")
        if first:
            decode_settings(one.payload)
        elif second:
            self.keys.set_result(KeyList.decode(one.payload))
        elif one.name == "goaway":
            decode_goaway(one.payload)

    def _fail(self, stream: int, error: Malformed) -> None:
        """An error on a request stream ends that stream, any other the connection [QUI-8]."""
        self.streams[stream] = None
        if stream in self.answers:
            self._quic.reset_stream(stream, CLOSE_CODE[error.kind])
            self._quic.stop_stream(stream, CLOSE_CODE[error.kind])
            self._give_up(self.answers[stream], error)
        else:
            self.close(CLOSE_CODE[error.kind], str(error))
            self._give_up(self.keys, error)

    @staticmethod
    def _give_up(waiting: asyncio.Future, error: Exception) -> None:
        if not waiting.done():
            waiting.set_exception(error)
            waiting.exception()                                  # marks it as seen, where nobody waits

# --- one exchange, and what is checked of it ----------------------------------------------------------------------------


def check(message: Message, keys: KeyList, exporter_value: bytes, token_digest: bytes) -> Verdict:
    """All that holds before the application sees a thing [QUI-20]."""
    verdict = verify(message, pin=keys.root, keys=keys)          # chain, F, layer signatures, R0, SEAL's key: chapters 4, 5, 13
    if verdict.verdict != ("authentic" if message.seal.receipt else "consistent"):                       # [RCP-7], [FRM-14]
        raise Unverified(verdict.why)
    if finding := process_findings(message):                                                             # chapter 7
        raise Unverified(finding)
    shown = [message.layers[1].get(name) for name in ("exporter-digest", "token-digest")]
    here = [hashlib.sha256(exporter_value).digest(), token_digest]
    if shown != here and message.seal.get("recorded") is None:
        raise Unverified("[QUI-21] admitted on another connection, or by another token")
    return verdict


async def call(connection: Connection, keys: KeyList, caller: Caller, origin: Layer) -> tuple[Message, Verdict]:
    """Sends the origin; gives the verified exchange."""
    whole = caller.token_digest not in connection.answered                                                       # [QUI-10]
    auth = caller.auth(whole, connection.exporter_value, keys.root)
    message = read_answer(origin, await connection.exchange(auth + origin.encode()))                     # [QUI-17] to [QUI-19]
    verdict = check(message, keys, connection.exporter_value, caller.token_digest)
    refused = message_status(message.layers) == 401
    if not refused:
        connection.answered.add(caller.token_digest)
    if not whole and refused and message.layers[-1].get("remedy") == b"resend-token":
        connection.answered.discard(caller.token_digest)
        return await call(connection, keys, caller, origin)                                              # [QUI-11], [IDM-6]
    return message, verdict


def stored(message: Message, keys: KeyList) -> bytes:
    """The `.cmtp` file (chapter 12), with the key list and the layer hashes [STO-5]."""
    items = message.seal.items | {ITEM["keys"]: keys.encode()}
    if len(message.layers) <= LIMIT["heads-max"]:
        items[ITEM["heads"]] = b"".join(chain(message.layers))
    return replace(message, seal=replace(message.seal, items=items)).encode()


def report(message: Message, verdict: Verdict) -> int:
    """Prints the body, or why there is none."""
    status, last = message_status(message.layers), message.layers[-1]
    print(f"{verdict.verdict}: status {status}, {len(message.layers)} layers, seal {verdict.seal.hex()}", file=sys.stderr)
    if status >= 400:
        remedy, detail = ((last.get(name) or b"-").decode() for name in ("remedy", "detail"))            # [STA-1]
        print(f"refused: {status}, remedy {remedy}: {detail}", file=sys.stderr)
    sys.stdout.buffer.write(b"".join(layer.body or b"" for layer in message.layers[1:]))
    sys.stdout.buffer.flush()
    return 1 if status >= 400 else 0


async def run(options: argparse.Namespace) -> int:
    root, caller = key_of_did(options.pin), Caller(options.seed, options.token)
    configuration = QuicConfiguration(                           # 0-RTT needs a session ticket, and there is none [QUI-2]
        alpn_protocols=[BINDING["alpn"]], supported_versions=[QuicProtocolVersion.VERSION_1],
        verify_mode=ssl.CERT_NONE,                               # TLS proves the certificate's key; `trust` says whose it is
        idle_timeout=LIMIT["idle-timeout"])
    async with connect(options.host, options.port, configuration=configuration, create_protocol=Connection) as connection:
        keys, worst = await connection.trust(root), 0
        for _ in range(2 if options.twice else 1):
            origin = make_origin(caller, root, options.target, options.args, options.data)
            message, verdict = await call(connection, keys, caller, origin)
            worst = max(worst, report(message, verdict))
            if options.save:
                options.save.write_bytes(stored(message, keys))
        return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["call"])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("target")
    parser.add_argument("--pin", metavar="DID", required=True)
    parser.add_argument("--seed", metavar="HEX", type=bytes.fromhex, required=True)
    parser.add_argument("--token", type=str.encode)
    parser.add_argument("--data", metavar="TEXT", type=str.encode)
    parser.add_argument("--args", metavar="JSON")
    parser.add_argument("--save", metavar="FILE", type=Path)
    parser.add_argument("--twice", action="store_true")
    try:
        return asyncio.run(run(parser.parse_args()))
    except (Malformed, Unverified, Lost, ConnectionError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
