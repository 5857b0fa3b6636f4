"""Reads the journal of a CMTP node and checks all of it, from the chapters alone (17, 13, 12, 7, 5, 4).

    journal.py FOLDER NODE-DID

Prints one line of JSON and exits 0, or names the first thing that does not hold and exits 1. The frames, hashes and key lists are
read by the specification's own reader; files, commits and what ties pieces together are read here.
"""
from __future__ import annotations

import json
import re
import sys
import tomllib
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cmtp-spec" / "vectors"))
import policies
import reader
from reader import *
from session import read_message, read_revoked

FILE_MAGIC, COMMIT_MAGIC = (bytes.fromhex(BINDING[f"{name}-magic"].removeprefix("hex:")) for name in ("journal", "commit"))
HEADER, ENTRY, ALIGN = 64, 68, 8
TYPE_NAME = {number: name for name, number in ENTRY_TYPE.items()}
OWN_TYPES = ("opened", "keys", "config", "policy", "revoked", "summary")
ERASURES = {"redacted": 1, "forgotten": 2}           # how much of a message is erased: its content, or its cores, too
END_TYPES = ("outcome", "exchange", "refusal")
WRITES = {number for name, number in OPCODE.items() if name.endswith("W")}
key_point = cache(decode_key)


def verify_signature(key: bytes, use: str, payload: bytes, signature: bytes) -> None:
    """Chapter 5. The library checks S and R as SIG-1 and SIG-4 ask, but takes any key: that is looked at first."""
    key_point(key)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed_bytes(use, payload))
    except InvalidSignature:
        raise Malformed("SIG-4", "a wrong signature") from None


reader.verify_signature = verify_signature      # its own takes milliseconds for each of thousands of signatures

# --- files and commits --------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    entry: bytes
    content_key: bytes
    cores_key: bytes
    begin: int
    cores: bytes
    content: bytes

    def decrypt(self, what: str) -> bytes | None:
        """The `content` or the `cores`; None where the key is destroyed. F, the entry's last 32 bytes, is additional data."""
        key, text = getattr(self, f"{what}_key"), getattr(self, what)
        try:
            return None if key == ZERO else AESGCM(key).decrypt(bytes(12), text, self.entry[-32:])
        except (InvalidTag, ValueError):
            raise Malformed("piece", f"the {what} can't be decrypted") from None


class Commit(NamedTuple):
    place: str
    mode: int
    delay: int
    first: int
    durable: int
    time: int
    signature: bytes
    pieces: list[Piece]


class Files:
    """The commits of a folder in their order. `place` is where the reading stands, `torn` whether the last log has a torn end."""

    def __init__(self, folder: Path, node: bytes):
        self.folder, self.node, self.place, self.torn = folder, node, str(folder), False

    def __iter__(self):
        stems = sorted({path.stem for path in self.folder.iterdir() if re.fullmatch(r"[0-9]{20}\.(wal|entries|records|keys)", path.name)})
        require(stems, "files", "no journal")
        following, self.torn = 0, False
        for stem in stems:
            self.place = stem
            require(not self.torn, "files", "a log follows one with a torn end")
            require(int(stem) == following, "files", f"entry {following} should begin this file")
            moved = (self.folder / f"{stem}.entries").exists()          # then a wal is left over
            for commit in self._moved(stem) if moved else self._log(stem):
                self.place = commit.place
                require(commit.first == following, "commit", f"begins with entry {commit.first}, {following} comes next")
                following += len(commit.pieces)
                yield commit

    def _open(self, stem: str, ending: str) -> bytes:
        self.place = f"{stem}.{ending}"
        data = (self.folder / self.place).read_bytes()
        if ending in ("wal", "records"):
            require(data[:HEADER] == FILE_MAGIC + u(int(stem), 64) + self.node + bytes(16), "header", "not that of this name and node")
        return data

    def _bodies(self, data: bytes, name: str):
        """Offset and body of each whole commit; ends at the first that is not."""
        at = end = HEADER
        while (body := whole(data, at)) is not None:
            self.place = f"{name} offset {at}"
            require(not any(data[end:at]), "commit", "something before it that is not zero")
            yield at, body
            end = at + 16 + len(body)
            at = end + -end % ALIGN
        self.place = f"{name} offset {at}"
        self.torn = bool(data[end:].strip(b"\0"))

    def _log(self, stem: str):
        data, known = self._open(stem, "wal"), 0
        for at, body in self._bodies(data, self.place):
            commit = read_commit(body, self.place)
            require(known <= commit.durable <= at, "commit", "durable goes back, or ahead of the commit")
            known = commit.durable
            yield commit
        if self.torn:
            # Of the last commits nothing can say whether they were durable; of the others a later one says it.
            at = int(self.place.split()[-1])
            later = (whole(data, found.start()) for found in re.finditer(re.escape(COMMIT_MAGIC), data) if found.start() > at)
            require(all(int.from_bytes(body[16:24], "big") <= at for body in later if body), "JRN-7", "a commit that was durable is not whole")

    def _moved(self, stem: str):
        entries, keys, data = Cursor(self._open(stem, "entries")), Cursor(self._open(stem, "keys")), self._open(stem, "records")
        for _, body in self._bodies(data, self.place):
            yield read_commit(body, self.place, entries, keys)
        require(not self.torn, "files", "records that are not whole")
        require(not entries and not keys, "files", "more entries or keys than records")


def whole(data: bytes, at: int) -> bytes | None:
    """The body of the commit at an offset, None if there is no whole one."""
    if data[at:at + 8] != COMMIT_MAGIC:
        return None
    crc, length = (int.from_bytes(data[at + skip:at + skip + 4], "big") for skip in (8, 12))
    body = data[at + 16:at + 16 + length]
    return body if len(body) == length and zlib.crc32(data[at + 12:at + 16 + length]) == crc else None


def read_commit(body: bytes, place: str, entries: Cursor | None = None, keys: Cursor | None = None) -> Commit:
    """Where entries and keys were moved to files of their own, they are taken from there."""
    with exactly(body) as cursor:
        version, mode, delay, count = cursor.u(8), cursor.u(8), cursor.u(16), cursor.u(32)
        require(version == 0, "commit", "another version")
        require(count, "RCP-13", "a commit without entries")
        first, durable, time, signature = cursor.u(64), cursor.u(64), cursor.time(), cursor.take(64)
        entries, keys = (cursor, cursor) if entries is None else (entries, keys)
        try:
            texts = [entries.take(ENTRY) for _ in range(count)]
            pairs = [(keys.take(32), keys.take(32)) for _ in range(count)]
        except Incomplete:
            raise Malformed("files", "fewer entries or keys than records") from None
        places = [(cursor.u(64), cursor.u(32), cursor.u(32)) for _ in range(count)]
        pieces = [Piece(text, *pair, begin, cursor.take(cores), cursor.take(content))
                  for text, pair, (begin, cores, content) in zip(texts, pairs, places)]
    return Commit(place, mode, delay, first, durable, time, signature, pieces)


# --- what the entries say -----------------------------------------------------------------------------------------------


@dataclass
class Journalled:
    """A message as far as its pieces were read. `lost`: both keys of a piece are destroyed, so that the chain can't be followed."""
    id: bytes
    opcode: int
    last_type: str = ""
    lost: bool = False
    erased: int = 0
    assembler: Assembler = field(default_factory=lambda: Assembler("stored"))
    hashes: list[bytes] = field(default_factory=list)

    @property
    def layers(self) -> list[Layer]:
        return self.assembler.message.layers


class Audit:
    def __init__(self, files: Files):
        self.files, self.node, self.place = files, files.node, ""
        self.lists: list[KeyList] = []
        self.origin = ""
        self.time = self.entries = self.commits = self.messages = self.executed = 0
        self.open: dict[int, Journalled] = {}
        self.seals: dict[bytes, tuple[bytes, int, int]] = {}  # by F each message that has ended: id, opcode, how much is erased
        self.erasures: dict[bytes, int] = {}
        self.grants: set[str] = set()                       # names of the grants that were made
        self.writes: set[tuple[bytes, bytes]] = set()       # caller and id of each that has an outcome, unless it had no effect

    def run(self) -> dict:
        self._learn()
        for commit in self.files:
            self.place = ""
            require(commit.mode in (MODE["async"], MODE["wal"]), "commit", f"journalled in mode {commit.mode}")
            require(commit.time >= self.time, "JRN-8", "entry times go back")
            self._opened_by(commit)
            self.time, key = commit.time, self._sealing_key(commit)
            for index, piece in enumerate(commit.pieces, commit.first):
                self.place = f" entry {index}"
                self._entry(commit, key, index, piece)
            self.commits += 1
            self.entries += len(commit.pieces)
        self.place = ""
        pending = 0
        for seal, (_, _, erased) in self.seals.items():
            noted = self.erasures.get(seal, 0)
            require(erased <= noted, "ERA-8", f"keys of the message {seal.hex()} are destroyed, and no entry says so")
            pending += erased < noted
        require(not any(message.erased for message in self.open.values()), "ERA-4", "a message that has not ended is erased")
        return {"erased": sum(erased > 0 for _, _, erased in self.seals.values()), "pending": pending, "entries": self.entries, "commits": self.commits, "messages": self.messages, "open": len(self.open),
                "executed_writes": self.executed, "grants": len(self.grants), "torn": self.files.torn}

    def _opened_by(self, commit: Commit) -> None:
        """The log of a commit is the one that it opens, and its key list the one that it notes (NKY-5); else those of the commit before."""
        for piece in commit.pieces:
            entry = read_entry(piece.entry)
            if TYPE_NAME.get(entry["type"]) == "keys":
                self._own("keys", entry, piece.decrypt("content"))
            if TYPE_NAME.get(entry["type"]) == "opened" and entry["layers"]:
                number = int(self.origin.rsplit("/", 1)[1])
                require(entry["layers"] > number, "entry", "a log that does not follow the one before")
                self.origin = self.origin.rsplit("/", 1)[0] + f"/{entry['layers']}"

    def _learn(self) -> None:
        """The log's origin and the first key list: the commits that hold them can't be checked without."""
        for commit in self.files:
            for piece in commit.pieces:
                entry = read_entry(piece.entry)
                kind = TYPE_NAME.get(entry["type"])
                if kind in ("opened", "keys"):
                    self._own(kind, entry, piece.decrypt("content"))
            if self.origin and self.lists:
                return
        raise Malformed("journal", "no log was opened, or no key list is journalled")

    def _sealing_key(self, commit: Commit) -> bytes:
        """R0's signature, and the key that made it: one that a list of the node gives the use `layer`."""
        first = commit.first if commit.mode == MODE["wal"] else NO_INDEX                                     # RCP-3
        root = merkle_root([leaf_hash(piece.entry) for piece in commit.pieces])
        statement = Receipt(self.origin, first, len(commit.pieces), root, commit.mode, commit.time, commit.delay, b"", 0, 0, 0, b"", 0, []).statement()
        for key in set(self.lists[-1].valid("layer", commit.time)):
            with suppress(Malformed):
                verify_signature(key, "r0", statement, commit.signature)
                return key
        raise Malformed("RCP-5", "no layer key of the node signed the commit")

    def _entry(self, commit: Commit, key: bytes, index: int, piece: Piece) -> None:
        entry, begin = read_entry(piece.entry), piece.begin
        kind = TYPE_NAME.get(entry["type"])
        require(entry["time"] == commit.time, "entry", "another time than R0's")
        require(bool(entry["flags"] & ENTRY_FLAG["async"]) == (commit.mode == MODE["async"]), "RCP-14", "mode and flag async do not agree")
        cores, content = piece.decrypt("cores"), piece.decrypt("content")
        if kind in OWN_TYPES:
            require(begin == index and not cores, "entry", "the node's own, and it has cores or joins another")
            self._own(kind, entry, content)
        elif kind in ERASURES:
            require(begin == index and not cores, "entry", "the node's own, and it has cores or joins another")
            self._erasure(kind, entry, content)
        else:
            require(kind in END_TYPES + ("intent", "segment"), "entry", f"chapter 17 lays out no piece for the type {kind or entry['type']}")
            message = self._joined(index, begin, kind, entry)
            self._piece(message, cores, content)
            self._agrees(message, kind, entry, key)
            message.erased = max(message.erased, 2 if cores is None else content is None)
            if kind in END_TYPES:
                self.messages += not message.lost
                self.seals[entry["seal"]] = message.id, message.opcode, message.erased
                self._end(self.open.pop(begin), kind, entry, key)

    def _erasure(self, kind: str, entry: dict, content: bytes | None) -> None:
        """What was erased. The entry names the message as the message's own did."""
        require(not any((entry["status"], entry["layers"], entry["flags"])), "entry", "an erasure with a status, layers or flags")
        require(content is not None, "entry", "the content of the node's own is destroyed")
        require((entry["message_id"], entry["opcode"]) == self.seals.get(entry["seal"], ())[:2], "ERA-1", "it erases no message before it")
        text = content.decode(errors="replace")
        lines = r"pieces( [0-9]+)+\n(write [0-9a-f]{64} [0-9a-f]{64}\n)?(state [0-9a-f]{64} [0-9]+\n)?"
        require(re.fullmatch(lines, text), "entry", "an erasure has other lines")
        self.erasures[entry["seal"]] = max(ERASURES[kind], self.erasures.get(entry["seal"], 0))

    def _own(self, kind: str, entry: dict, content: bytes | None) -> None:
        """What the node says of itself; read again, it adds nothing."""
        number = entry["layers"] if kind == "opened" else 0
        require(not any((entry["opcode"], entry["status"], entry["layers"] - number, *entry["message_id"])), "entry", "no message, and not all zero")
        require(content is not None, "entry", "the content of the node's own is destroyed")
        require(H(content) == entry["seal"], "entry", f"F is not the digest of the {kind}")
        text = content.decode(errors="replace")
        if kind == "opened" and number:
            # The checkpoint that it cites is of a log before it.
            origin, size, root = text.removesuffix("\n").split("\n")
            prefix, before = origin.rsplit("/", 1)
            require(prefix == self.origin.rsplit("/", 1)[0] and int(before) == number - 1, "LOG-19", "cites another log than the one before")
        elif kind == "opened":
            require(self.origin in ("", text), "entry", "a log of another origin")
            self.origin = text
        elif kind == "keys":
            keys = KeyList.decode(content)
            keys.check(self.node, self.lists[-1].number if self.lists else 0)
            self.lists += [keys] * (keys not in self.lists)
        elif kind == "config":
            tomllib.loads(text)
        elif kind == "policy":
            # Nothing: the scope of tokens alone decides.
            policies.read_listing(content) if content else None
        elif kind == "revoked":
            read_revoked(content)
        else:
            require(re.fullmatch(r"(\S+ [0-9]+\n)+", text), "entry", "a summary is a line `reason count` for each reason")

    def _joined(self, index: int, begin: int, kind: str, entry: dict) -> Journalled:
        """The message that a piece goes on with, or begins."""
        if begin == index:
            self.open[index] = Journalled(entry["message_id"], entry["opcode"])
        message = self.open.get(begin)
        require(message, "begin", f"no open message began with entry {begin}")
        require((message.id, message.opcode) == (entry["message_id"], entry["opcode"]), "begin", "another message than the one that it joins")
        after = {"": ("intent", "segment", *END_TYPES), "intent": ("outcome",), "segment": ("segment", "exchange", "refusal")}[message.last_type]
        require(kind in after, "begin", f"{kind} after {message.last_type}")
        message.last_type = kind
        return message

    def _piece(self, message: Journalled, cores: bytes | None, content: bytes | None) -> None:
        """Adds a piece's layers, from the content or, where that is erased, from the cores."""
        message.lost |= cores is None and content is None
        if message.lost:
            return
        start, assembler = len(message.layers), message.assembler
        with exactly(cores if content is None else content) as cursor:
            while cursor:
                part = read_frame(cursor, "stored")
                require(part.name in (("core",) if content is None else ("layer", "body", "end")), "piece", f"a frame {part.name}")
                assembler.feed(part)
        require(not assembler.open, "piece", "it ends within a layer")
        follow = b""
        for number, layer in enumerate(message.layers[start:], start):
            prev = message.hashes[-1] if message.hashes else ZERO
            layer.check_chain(number, prev)
            follow += frame("core", layer.core(number, prev) + (layer.signature or b""))
            message.hashes.append(layer.hash(number, prev))
        require(cores in (None, follow), "piece", "other cores than the content's")
        require(content is None or content == b"".join(layer.encode() for layer in message.layers[start:]), "CNV-5", "frames in another form")

    def _agrees(self, message: Journalled, kind: str, entry: dict, key: bytes) -> None:
        """What the entry says is what the layers say."""
        if message.lost:
            return
        layers = message.layers
        require(layers and entry["layers"] == len(layers), "entry", f"{entry['layers']} layers, and {len(layers)} are there")
        require(entry["status"] == message_status(layers), "entry", "another status than the layers'")
        last, head = layers[-1], message.hashes[-1]
        seal = head if kind == "intent" else seal_hash("interim" if kind == "segment" else "seal", key, len(layers), head)
        require(entry["seal"] == seal, "HSH-5", "another F than the layers'")
        require(kind != "intent" or last.step == STEP["dispatch"], "entry", "an intent that does not end with dispatch")
        origin = message.assembler.message.origin
        if origin:
            require(entry["opcode"] == message.assembler.message.opcode(), "RCP-4", "another opcode than the target's")
            require(entry["message_id"] == origin.get("message-id"), "RCP-4", "another message id than the origin's")
        if last.effect is not None:
            flags = sum(ENTRY_FLAG[name] for name in last.effect) | (ENTRY_FLAG["cut"] if last.flags & CUT else 0)
            require(entry["flags"] & ~ENTRY_FLAG["async"] == flags, "entry", "other flags than the last layer's")

    def _end(self, message: Journalled, kind: str, entry: dict, key: bytes) -> None:
        """Chapter 7 over the whole message, and chapter 14: no write twice."""
        require(kind == "refusal" or (kind == "outcome") == (entry["opcode"] in WRITES), "entry", "an outcome is the end of a write, and no other")
        require(kind != "refusal" or entry["status"] >= 400, "entry", "a refusal that refuses nothing")
        if kind == "outcome" and not entry["flags"] & (ENTRY_FLAG["no-effect"] | ENTRY_FLAG["outcome-unknown"]):
            self.executed += 1
        if message.lost:
            return
        if message.layers[0].redacted:
            check_process(entry["opcode"], message.layers)
        elif finding := process_findings(Message(message.layers, seal=Seal("seal", key, entry["seal"], {}))):
            raise finding
        self._grant(message)
        if kind == "outcome":
            write = message.layers[0].actor, message.id
            require(write not in self.writes, "IDM-2", "a write that was executed before")
            if not entry["flags"] & ENTRY_FLAG["no-effect"]:
                self.writes.add(write)

    def _grant(self, message: Journalled) -> None:
        """Chapter 22: the answer to a consent says what the grant is."""
        origin = message.assembler.message.origin
        if not origin or origin.get("target") != BINDING["session-consent"].encode() or message_status(message.layers) >= 400:
            return
        for layer in message.layers:
            if layer.step == STEP["serve"] and not layer.redacted:
                granted = read_message("granted", layer.get(BINDING["session-grant"]) or b"")
                require(granted["persona"] == origin.actor, "SES-2", "a grant of another persona")
                self.grants.add(read_message("token", layer.body)["grant"])


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__)
        return 2
    audit = Audit(Files(Path(arguments[0]), key_of_did(arguments[1])))
    try:
        print(json.dumps(audit.run(), separators=(",", ":")))
    except (Malformed, Incomplete, OSError, tomllib.TOMLDecodeError) as error:
        print(f"{audit.files.place}{audit.place}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
