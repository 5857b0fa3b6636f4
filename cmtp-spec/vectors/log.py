"""Chapter 18: notes, checkpoints, proofs and policies; and the trees of chapters 13 and 18 (RFC 6962, RFC 9162)."""
from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field as default

from base import *
from ed25519 import decode_key, did_of, key_of_did, sign_bytes, verify_bytes

# --- trees --------------------------------------------------------------------------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    return H(b"\0", data)


def _node(left: bytes, right: bytes) -> bytes:
    return H(b"\1", left, right)


def merkle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return _node(merkle_root(leaves[:split]), merkle_root(leaves[split:]))


def merkle_path(leaves: list[bytes], offset: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if offset < split:
        return merkle_path(leaves[:split], offset) + [merkle_root(leaves[split:])]
    return merkle_path(leaves[split:], offset - split) + [merkle_root(leaves[:split])]


def path_leads(leaf: bytes, offset: int, count: int, path: list[bytes], root: bytes) -> bool:
    """RFC 9162 section 2.1.3.2."""
    if offset >= count:
        return False
    fn, sn, r = offset, count - 1, leaf
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = _node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = _node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def tree_grew(old: int, old_root: bytes, size: int, root: bytes, path: list[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2, and the two cases that need no proof: from no leaf, and to as many."""
    if old == 0 or old == size:
        return not path and old_root == (root if old else H())
    if old > size:
        return False
    path = [old_root, *path] if old & (old - 1) == 0 else path
    if not path:
        return False
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = _node(c, fr), _node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = _node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == root


def grown_path(leaves: list[bytes], old: int) -> list[bytes]:
    """RFC 6962 section 2.1.2: PROOF(old, leaves)."""
    def subproof(m: int, part: list[bytes], whole: bool) -> list[bytes]:
        if m == len(part):
            return [] if whole else [merkle_root(part)]
        split = 1 << (len(part) - 1).bit_length() - 1
        if m <= split:
            return subproof(m, part[:split], whole) + [merkle_root(part[split:])]
        return subproof(m - split, part[split:], False) + [merkle_root(part[:split])]
    return subproof(old, leaves, True) if old else []

# --- spellings ----------------------------------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def read_b64(text: str, rule: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise Malformed(rule, "not base64") from None
    require(b64(data) == text, rule, "a second spelling of base64")
    return data


def read_decimal(text: str, rule: str) -> int:
    require(re.fullmatch("0|[1-9][0-9]{0,19}", text), rule, "not a decimal number in its one spelling")
    require(int(text) < 1 << 64, rule, "2^64 or more")
    return int(text)


def read_hash(text: str, rule: str) -> bytes:
    data = read_b64(text, rule)
    require(len(data) == 32, rule, "a hash is 32 bytes")
    return data


def read_path(lines: list[str], rule: str) -> list[bytes]:
    require(len(lines) <= LIMIT["log-path-max"], "LOG-17", "more hashes than log-path-max")
    return [read_hash(line, rule) for line in lines]


def origin_of(root: bytes, number: int) -> str:
    return f"cmtp/{did_of(root).removeprefix('did:key:')}/{number}"


def read_origin(origin: str) -> tuple[bytes, int]:
    """The root key of the node, and the number of the log."""
    parts = origin.split("/")
    require(len(parts) == 3 and parts[0] == "cmtp", "LOG-1", "not the origin of a node's log")
    number = read_decimal(parts[2], "LOG-1")
    require(number < 1 << 32, "LOG-1", "the number is 2^32 or more")
    try:
        return key_of_did("did:key:" + parts[1]), number
    except Malformed:
        raise Malformed("LOG-1", "not the multibase name of a key") from None

# --- keys ---------------------------------------------------------------------------------------------------------------

LOG_KEY, WITNESS_KEY = 1, 4


@dataclass(frozen=True)
class VerifierKey:
    name: str
    type: int
    key: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        parts = text.split("+", 2)
        require(len(parts) == 3, "LOG-12", "not name+id+key")
        name, data = parts[0], read_b64(parts[2], "LOG-12")
        require(data and data[0] in (LOG_KEY, WITNESS_KEY), "LOG-12", "a type that is not 0x01 or 0x04")
        require(len(data) == 33, "LOG-12", "a key is 32 bytes")
        require(name and len(name.encode()) <= LIMIT["log-origin-max"] and not any(c.isspace() for c in name), "LOG-12", "not a name")
        try:
            decode_key(data[1:])
        except Malformed as error:
            raise Malformed("LOG-12", f"a key that chapter 5 refuses: {error}") from None
        found = cls(name, data[0], data[1:])
        require(found.id.hex() == parts[1], "LOG-12", "the id is not that of name and key")
        return found

    @property
    def id(self) -> bytes:
        return H(self.name.encode(), b"\n", bytes([self.type]), self.key)[:4]

    def encode(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64(bytes([self.type]) + self.key)}"

    def signed(self, text: str, time: int) -> bytes:
        return (f"cosignature/v1\ntime {time}\n{text}" if self.type == WITNESS_KEY else text).encode()

    def sign(self, seed: bytes, text: str, time: int = 0) -> str:
        """The signature line."""
        blob = u(time, 64) if self.type == WITNESS_KEY else b""
        return f"\u2014 {self.name} {b64(self.id + blob + sign_bytes(seed, self.signed(text, time)))}\n"

# --- checkpoints --------------------------------------------------------------------------------------------------------


@dataclass
class Checkpoint:
    """With its signatures: a name, and key id and signature in one."""
    origin: str
    size: int
    root: bytes
    signatures: list[tuple[str, bytes]] = default(default_factory=list)

    @classmethod
    def parse(cls, note: str) -> Checkpoint:
        require(len(note.encode()) <= LIMIT["checkpoint-max"], "LOG-4", "longer than checkpoint-max")
        require(not re.search("[\x00-\x09\x0b-\x1f]", note), "LOG-4", "a control character")
        text, blank, lines = note.rpartition("\n\n")
        require(blank and lines.endswith("\n"), "LOG-4", "no signatures behind a blank line")
        parts = text.split("\n")
        require(len(parts) == 3, "LOG-4", "not three lines")
        origin = parts[0]
        require(0 < len(origin) <= LIMIT["log-origin-max"] and all("!" <= c <= "~" and c != "+" for c in origin), "LOG-4", "not an origin")
        found = cls(origin, read_decimal(parts[1], "LOG-4"), read_hash(parts[2], "LOG-4"))
        for line in lines.removesuffix("\n").split("\n"):
            dash, name, blob = (line.split(" ", 2) + ["", ""])[:3]
            require(dash == "\u2014" and name and "+" not in name and not any(c.isspace() for c in name), "LOG-4", "not a signature line")
            data = read_b64(blob, "LOG-4")
            require(len(data) > 4, "LOG-4", "a signature without bytes")
            found.signatures.append((name, data))
        require(len(found.signatures) <= 100, "LOG-4", "more than 100 signatures")
        return found

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"

    def note(self) -> str:
        return self.text() + "\n" + "".join(f"\u2014 {name} {b64(data)}\n" for name, data in self.signatures)

    def signed_by(self, key: VerifierKey) -> int | None:
        """The time that the signature states (0 for a log's own), or None: not signed by this key."""
        for name, data in self.signatures:
            if (name, data[:4]) != (key.name, key.id):
                continue
            blob, time = data[4:], 0
            if key.type == WITNESS_KEY:
                time, blob = int.from_bytes(blob[:8], "big"), blob[8:]
            require(len(blob) == 64, "LOG-15", "not the length of a signature")
            try:
                verify_bytes(key.key, key.signed(self.text(), time), blob)
            except Malformed as error:
                raise Malformed("LOG-15", f"{key.name}: {error}") from None
            return time
        return None

    def signed_by_any(self, logs: list[VerifierKey]) -> bool:
        return any([self.signed_by(log) is not None for log in logs if log.name == self.origin])

    def check(self, log: VerifierKey) -> None:
        require(log.name == self.origin, "LOG-3", "the key's name is not the origin")
        require(self.signed_by(log) is not None, "LOG-3", "not signed by the log's key")


def _split(text: str, first: str, rule: str) -> tuple[list[str], str]:
    """The lines before the first blank one, `first` cut off, and the checkpoint behind it."""
    require(text.startswith(first), rule, f"it does not begin with {first!r}")
    head, blank, note = text.removeprefix(first).partition("\n\n")
    require(blank, rule, "no blank line")
    return head.split("\n"), note


@dataclass
class LogProof:
    index: int
    path: list[bytes]
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, text: str) -> LogProof:
        lines, note = _split(text, BINDING["tlog-proof-header"] + "\nindex ", "LOG-9")
        return cls(read_decimal(lines[0], "LOG-9"), read_path(lines[1:], "LOG-9"), Checkpoint.parse(note))

    def encode(self) -> str:
        path = "".join(b64(node) + "\n" for node in self.path)
        return f"{BINDING['tlog-proof-header']}\nindex {self.index}\n{path}\n{self.checkpoint.note()}"

    def check_path(self, leaf: bytes) -> None:
        require(path_leads(leaf, self.index, self.checkpoint.size, self.path, self.checkpoint.root), "LOG-16", "the path does not lead to the root")


@dataclass
class Growth:
    """A checkpoint with a consistency proof, as in the body of add-checkpoint."""
    old: int
    path: list[bytes]
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, text: str) -> Growth:
        lines, note = _split(text, "old ", "LOG-7")
        return cls(read_decimal(lines[0], "LOG-7"), read_path(lines[1:], "LOG-7"), Checkpoint.parse(note))

    def encode(self) -> str:
        return f"old {self.old}\n" + "".join(b64(node) + "\n" for node in self.path) + "\n" + self.checkpoint.note()

    def check(self, known: Checkpoint | None) -> None:
        if known is None:
            return
        new = self.checkpoint
        require(known.origin == new.origin, "LOG-3", "another log")
        require(self.old == known.size, "LOG-7", "from another size than the known one")
        require(tree_grew(known.size, known.root, new.size, new.root, self.path), "LOG-7", "the tree does not continue the known one")

# --- policies -----------------------------------------------------------------------------------------------------------


@dataclass
class Policy:
    logs: list[VerifierKey] = default(default_factory=list)
    witnesses: dict[str, VerifierKey] = default(default_factory=dict)
    groups: dict[str, tuple[int, list[str]]] = default(default_factory=dict)
    quorum: str | None = None

    @classmethod
    def parse(cls, text: str) -> Policy:
        policy, quorum = cls(), None
        for line in text.split("\n"):
            require(not re.search("[\x00-\x08\x0b-\x1f\x7f]", line), "LOG-12", "a control character")
            words = [word for word in re.split("[ \t]", line) if word]
            if not words or words[0].startswith("#"):
                continue
            if words[0] == "quorum":
                require(len(words) == 2 and quorum is None, "LOG-12", "one quorum, of one name")
                require(words[1] == "none" or policy.knows(words[1]), "LOG-12", "a quorum that no line above defines")
                quorum = words[1]
            else:
                policy._take(words)
        require(quorum, "LOG-12", "no quorum line")
        policy.quorum = None if quorum == "none" else quorum
        return policy

    def knows(self, name: str) -> bool:
        return name in self.witnesses or name in self.groups

    def _take(self, words: list[str]) -> None:
        match words:
            case ["log", key] | ["log", key, _]:
                key = VerifierKey.parse(key)
                require(key.type == LOG_KEY, "LOG-12", "not a log's key")
                require(key not in self.logs, "LOG-12", "a log's key twice")
                self.logs.append(key)
            case ["witness", name, key] | ["witness", name, key, _]:
                key = VerifierKey.parse(key)
                require(key.type == WITNESS_KEY, "LOG-12", "not a witness's key")
                require(name != "none" and not self.knows(name), "LOG-12", "a name twice")
                require(key.key not in [witness.key for witness in self.witnesses.values()], "LOG-12", "a witness's key twice")
                self.witnesses[name] = key
            case ["group", name, least, *members] if members:
                require(name != "none" and not self.knows(name), "LOG-12", "a name twice")
                require(all(self.knows(member) for member in members), "LOG-12", "a member that no line above defines")
                taken = [member for _, others in self.groups.values() for member in others] + members
                require(len(taken) == len(set(taken)), "LOG-12", "a member twice")
                least = {"any": 1, "all": len(members)}.get(least) or read_decimal(least, "LOG-12")
                require(1 <= least <= len(members), "LOG-12", "not 1 to the number of members")
                self.groups[name] = (least, members)
            case _:
                raise Malformed("LOG-12", "not a line of a policy")

    def judge(self, checkpoint: Checkpoint) -> tuple[list[tuple[str, int]], bool, bool]:
        """The witnesses that signed, each with its time; whether they are a quorum; whether one of the logs signed."""
        signed = [(name, checkpoint.signed_by(key)) for name, key in sorted(self.witnesses.items())]
        signed = [(name, time) for name, time in signed if time is not None]
        names = {name for name, _ in signed}

        def holds(name: str) -> bool:
            if name not in self.groups:
                return name in names
            least, members = self.groups[name]
            return sum(map(holds, members)) >= least
        log = checkpoint.signed_by_any(self.logs)
        return signed, self.quorum is None or holds(self.quorum), log or not self.logs
