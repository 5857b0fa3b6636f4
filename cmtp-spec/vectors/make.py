"""Makes the test vectors *.json beside it, with reader.py; README.md says what stands in them.

    python3 make.py            writes the files
    python3 make.py --check    writes nothing, computes every case again, names each that differs; exit code 1 if any

Nothing is random: keys, salts and times come from labels. A case is written down with the result that the text demands (a
rule, `valid` or `incomplete`); that the reader agrees is checked here, and what else is expected is then what it computes.
"""
from __future__ import annotations

import hashlib
import itertools
import json
import sys

import ed25519
import policies
import session
import tokens
from bus import *
from identity import *
from session import *

HERE = Path(__file__).resolve().parent

# --- computing a case ---------------------------------------------------------------------------------------------------


def number(value: int) -> int | str:
    return value if value < 1 << 53 else str(value)


def text_of(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def field_json(field: Field) -> dict:
    return {"name": field.name, "value": field.value.hex()}


def private_json(private: Private) -> dict:
    return {"leaf": private.withheld.hex()} if private.withheld else {"salt": private.salt.hex()} | field_json(private.field)


def items_json(seal: Seal) -> list:
    return [{"type": type, "payload": item.hex()} for type, item in seal.items.items()]


def list_json(keys: KeyList) -> dict:
    return {"root": keys.root.hex(), "number": number(keys.number), "signature": keys.signature.hex(), "keys": [
        {"use": key.use, "key": key.key.hex(), "notBefore": number(key.not_before), "notAfter": number(key.not_after)} for key in keys.keys]}


def same(data: bytes, encoded: bytes) -> None:
    assert data == encoded, f"CNV-5: {data.hex()} becomes {encoded.hex()}"


def run_varint(group, case):
    cursor = Cursor(case["input"])
    value = cursor.varint()
    same(case["input"][:cursor.at], varint(value))
    return {"value": number(value), "used": cursor.at}


def run_frame(group, case):
    cursor, stream = Cursor(case["input"]), group["stream"]
    one = read_frame(cursor, stream)
    same(case["input"][:cursor.at], one.encode())
    return {"frame": one.name or "unknown", "number": number(one.type), "used": cursor.at, "payload": one.payload.hex(),
            "decoded": decoded(one, stream, case)}


def decoded(one: Frame, stream: str, case: dict) -> dict:
    payload = one.payload
    match one.name:
        case "layer":
            layer = Layer.decode(payload, case["layer"], stream)
            return {"step": layer.step, "flags": layer.flags, "status": layer.status, "time": number(layer.time),
                    "signature": text_of(layer.signature)}
        case "body":
            require(payload, "FRM-8", "an empty BODY")
            return {"bytes": payload.hex()}
        case "end":
            layer = Layer(4, BODY | SIGNED * case["signed"], 200, ZERO, 0)
            layer.close(payload, None, stream)
            part = {"hash": layer.body_withheld.hex()} if layer.body_withheld else {"salt": layer.body_salt.hex()}
            return {"form": payload[0], **part, "signature": text_of(layer.signature)}
        case "core":
            layer = Layer.decode_core(payload)
            return {"core": layer.redacted.hex(), "signature": text_of(layer.signature)}
        case "seal" | "interim":
            seal = Seal.decode(payload, one.name, stream, 2)
            return {"key": seal.key.hex(), "seal": seal.hash.hex(), "items": items_json(seal)}
        case "auth":
            auth = Auth.decode(payload)
            same(payload, auth.encode())
            return {"form": 0, "digest": auth.digest.hex()} if auth.digest else {
                "form": 1, "signature": auth.signature.hex(), "token": auth.token.hex()}
        case "settings":
            pairs = decode_settings(payload)
            same(payload, encode_settings(pairs))
            return {"pairs": [[number(a), number(b)] for a, b in pairs]}
        case "goaway":
            return {"stream": number(decode_goaway(payload))}
        case "keys":
            keys = KeyList.decode(payload)
            same(payload, keys.encode())
            return list_json(keys)
        case "checkpoint":
            try:
                growth = Growth.parse(decode_utf8(payload, "FRM-20"))
            except Malformed as error:
                raise Malformed("FRM-20", str(error)) from None
            same(payload, growth.encode().encode())
            return {"old": number(growth.old), "path": [node.hex() for node in growth.path]} | checkpoint_json(growth.checkpoint)
    return {}


def run_fields(group, case):
    fields = []
    with exactly(case["input"]) as cursor:
        while cursor:
            fields.append(Field.read(cursor, group["class"]))
    check_once(fields)
    same(case["input"], b"".join(field.encode() for field in fields))
    return {"fields": [field_json(field) for field in fields]}


def run_public_leaf(group, case):
    fields = [Field(field["name"], bytes.fromhex(field["value"])) for field in case["fields"]]
    return {"hash": Layer(0, 0, 0, ZERO, 0, case["salt"], fields).public_leaf().hex()}


def run_private_leaf(group, case):
    return {"hash": Private(case["salt"], Field(case["name"], case["value"])).leaf().hex()}


def run_fields_root(group, case):
    return {"hash": fields_root([case["publicLeaf"], *case["privateLeaves"]]).hex()}


def run_body(group, case):
    layer = Layer(0, BODY if case["body"] is not None else 0, 0, ZERO, 0, body=case["body"], body_salt=case["salt"])
    return {"hash": layer.body_hash().hex()}


def run_body_frames(group, case):
    assembler = Assembler(group["stream"])
    layer = Layer(4, BODY | SIGNED * case["signed"], 200, ZERO, 0)
    assembler.message.layers, assembler.open = [layer, layer], layer
    cursor = Cursor(case["input"])
    while cursor:
        assembler.feed(read_frame(cursor, group["stream"]))
    if assembler.open:
        raise Incomplete
    return {"body": text_of(layer.body), "salt": text_of(layer.body_salt), "signature": text_of(layer.signature),
            "hash": layer.body_hash().hex()}


def one_layer(data: bytes, place: int, stream: str) -> Layer:
    assembler = Assembler(stream)
    assembler.message.layers = [None] * place
    cursor = Cursor(data)
    while not assembler.message.layers[place:] or assembler.open:
        assembler.feed(read_frame(cursor, stream))
    assert not cursor, "more than a layer"
    return assembler.message.layers[place]


def run_layer(group, case):
    place, prev = case["number"], case["prev"]
    layer = one_layer(case["input"], place, group["stream"])
    layer.check_chain(place, prev)
    same(case["input"], layer.encode())
    core = layer.core(place, prev)
    known = {"step": layer.step, "layerFlags": layer.flags, "status": layer.status, "actor": layer.actor.hex(), "time": number(layer.time),
             "form": "core" if layer.redacted else "full", "signature": text_of(layer.signature),
             "publicCount": int.from_bytes(core[12:14], "big"), "privateCount": int.from_bytes(core[14:16], "big"),
             "root": core[56:88].hex(), "bodyHash": core[88:120].hex(), "core": core.hex(), "hash": layer.hash(place, prev).hex()}
    if layer.redacted:
        return known
    body = None if not layer.has_body else {"hash": layer.body_withheld.hex()} if layer.body_withheld else {
        "salt": layer.body_salt.hex(), "bytes": layer.body.hex()}
    return known | {"publicSalt": layer.public_salt.hex(), "public": [field_json(field) for field in layer.public],
                    "private": [private_json(private) for private in layer.private], "publicLeaf": layer.public_leaf().hex(), "body": body}


def run_verify(group, case):
    verify_signature(case["key"], case["use"], case["payload"], case["signature"])
    return {}


def run_sign(group, case):
    return {"key": public_key(case["seed"]).hex(), "signature": sign(case["seed"], case["use"], case["payload"]).hex()}


def run_chain(group, case):
    hashes = []
    for place, data in enumerate(case["layers"]):
        try:
            layer, prev = one_layer(data, place, "stored"), hashes[-1] if hashes else ZERO
            layer.check_chain(place, prev)
            hashes.append(layer.hash(place, prev))
        except Malformed as error:
            error.extra = {"badLayer": place}
            raise
    return {"hashes": [hash.hex() for hash in hashes]}


def run_seal(group, case):
    seal = Seal.decode(case["input"], group["frame"], group["stream"], case["layers"], case["bodyUnread"])
    require(seal.hash == seal_hash(group["frame"], seal.key, case["layers"], case["last"]), "HSH-5", "another hash")
    if not seal.skipped:
        same(case["input"], seal.encode_payload())
    return {"key": seal.key.hex(), "seal": seal.hash.hex(), "items": items_json(seal)}


def run_key_list(group, case):
    keys = KeyList.decode(case["input"])
    keys.check(case["trusted"], case["seen"])
    return {"list": list_json(keys), "layerKeys": [key.hex() for key in keys.valid("layer", case["at"])]}


def run_receipt(group, case):
    receipt = Receipt.decode(case["input"])
    receipt.check_signature(case["key"])
    receipt.check_entry(case["status"], case["layers"], case["seal"], case["opcode"], case["messageId"])
    same(case["input"], receipt.encode())
    data = receipt.entry(case["status"], case["layers"], case["seal"])
    return {"logOrigin": receipt.log_origin, "firstIndex": number(receipt.first_index), "count": receipt.count, "commitRoot": receipt.root.hex(),
            "mode": receipt.mode, "time": number(receipt.time), "mergeDelay": receipt.merge_delay, "entryType": receipt.type,
            "entryOpcode": receipt.opcode, "entryFlags": receipt.flags, "entryMessageId": receipt.message_id.hex(), "offset": receipt.offset,
            "path": [node.hex() for node in receipt.path], "entry": data.hex(), "leafHash": leaf_hash(data).hex()}


def run_entry(group, case):
    found = read_entry(case["input"])
    same(case["input"], entry(**found))
    return {"entryType": found["type"], "opcode": found["opcode"], "entryFlags": found["flags"], "status": found["status"], "layers": found["layers"],
            "time": number(found["time"]), "messageId": found["message_id"].hex(), "seal": found["seal"].hex(), "leafHash": leaf_hash(case["input"]).hex()}


def run_commit(group, case):
    leaves, entries = [leaf_hash(one) for one in case["entries"]], [read_entry(one) for one in case["entries"]]
    assert len({one["time"] for one in entries}) == 1, "the entries of a commit have one time"
    key, root, signature, paths = public_key(case["seed"]), merkle_root(leaves), None, []
    for offset, one in enumerate(entries):
        r0 = Receipt(case["logOrigin"], case["firstIndex"], len(leaves), root, case["mode"], one["time"], case["mergeDelay"], signature or b"", one["type"],
                     one["opcode"], one["flags"], one["message_id"], offset, merkle_path(leaves, offset))
        if signature is None:
            r0 = r0.sign(case["seed"])
            signature = r0.signature
        r0 = Receipt.decode(r0.encode())
        r0.check_signature(key)
        r0.check_entry(one["status"], one["layers"], one["seal"], one["opcode"], one["message_id"])
        paths.append([node.hex() for node in r0.path])
    return {"commitRoot": root.hex(), "signature": signature.hex(), "paths": paths}


def run_did(group, case):
    key = key_of_did(case["did"])
    assert did_of(key) == case["did"]
    return {"key": key.hex()}


def run_stored(group, case):
    pinned = {}
    try:
        message = Message.decode(case["input"])
    except Malformed as error:
        error.extra = {"verdict": "invalid"} | ({"pinnedVerdict": "invalid", "pinnedRule": error.rule} if case["pin"] else {})
        raise
    same(case["input"], message.encode())
    policy = Policy.parse(case["policy"]) if "policy" in case else None
    verdict = verify(message, policy=policy)
    if case["pin"]:
        with_pin = verify(message, case["pin"], policy=policy)
        pinned = {"pinnedVerdict": with_pin.verdict} | ({"pinnedRule": with_pin.rule} if with_pin.verdict == "invalid" else {})
    process = "unknown" if message.opcode() is None else "not" if process_findings(message) else "ok"
    found = {"verdict": verdict.verdict, **pinned, "hashes": [hash.hex() for hash in verdict.hashes], "seal": verdict.seal.hex(),
             "status": message_status(message.layers), "process": process, "badLayer": verdict.place}
    if verdict.verdict == "invalid":
        error = Malformed(verdict.rule, verdict.why)
        error.extra = found
        raise error
    return found | {"standing": verdict.standing}


def fqmn_json(fqmn: Fqmn) -> dict:
    elements = [{"opcode": e} if is_opcode(e) else {"segment": decode_segment(e.encode()).decode()} for e in fqmn.elements]
    return {"elements": elements, "args": fqmn.args, "normal": str(fqmn), "write": fqmn.is_write}


def run_fqmn(group, case):
    fqmn = parse_fqmn(case["input"])
    same(case["input"], str(fqmn).encode())
    return fqmn_json(fqmn)


def run_target(group, case):
    return fqmn_json(parse_target(case["input"]))


def run_args(group, case):
    check_args(case["input"])
    return {}


def run_sugar(group, case):
    return {"normal": str(desugar(case["text"], case["words"]))}


def run_subject(group, case):
    return {"subject": subject(parse_target(case["target"].encode()))}


def run_policy_name(group, case):
    return policies.run_name(case)


def run_policy_set(group, case):
    return policies.run_set(case)


def run_policy_listing(group, case):
    return policies.run_listing(case)


def run_pattern(group, case):
    return {"covered": Pattern(case["pattern"].encode()).covers(parse_target(case["target"].encode()), case["list"])}


def run_process(group, case):
    layers = [Layer(layer["step"], layer["flags"], layer["status"], ZERO, 0, public=public(*((name, b"") for name in layer["effect"] or ())),
                    redacted=None if layer["effect"] is not None else ZERO) for layer in case["layers"]]
    check_process(case["opcode"], layers)
    return {"status": message_status(layers)}


def run_request(group, case):
    auth, origin = read_request(case["input"])
    origin.check_chain(0, ZERO)
    return {"auth": auth is not None, "hash": origin.hash(0, ZERO).hex()}


def run_answer(group, case):
    message = read_answer(read_request(case["origin"])[1], case["input"])
    verdict = verify(message)
    require(verdict.verdict != "invalid", verdict.rule, verdict.why)
    return {"hashes": [hash.hex() for hash in verdict.hashes], "seal": verdict.seal.hex(), "status": message_status(message.layers),
            "bodyUnread": message.seal.get("body-unread") is not None}


def checkpoint_json(checkpoint: Checkpoint) -> dict:
    return {"origin": checkpoint.origin, "size": number(checkpoint.size), "root": checkpoint.root.hex()}


def run_verifier_key(group, case):
    key = VerifierKey.parse(case["input"])
    same(case["input"].encode(), key.encode().encode())
    return {"name": key.name, "noteType": key.type, "key": key.key.hex(), "id": key.id.hex()}


def run_checkpoint(group, case):
    checkpoint = Checkpoint.parse(case["input"])
    same(case["input"].encode(), checkpoint.note().encode())
    checkpoint.check(VerifierKey.parse(case["key"]))
    return checkpoint_json(checkpoint)


def run_cosignature(group, case):
    time = Checkpoint.parse(case["input"]).signed_by(VerifierKey.parse(case["key"]))
    return {"time": None if time is None else number(time)}


def run_sign_note(group, case):
    key = VerifierKey(case["name"], case["noteType"], public_key(case["seed"]))
    text = Checkpoint(case["origin"], case["size"], case["root"]).text()
    return {"verifierKey": key.encode(), "line": key.sign(case["seed"], text, case["time"])}


def run_log_proof(group, case):
    proof = LogProof.parse(case["input"])
    same(case["input"].encode(), proof.encode().encode())
    proof.check_path(case["leaf"])
    proof.checkpoint.check(VerifierKey.parse(group["key"]))
    return {"index": number(proof.index), "path": [node.hex() for node in proof.path]} | checkpoint_json(proof.checkpoint)


def run_consistency(group, case):
    growth, known = Growth.parse(case["input"]), case["known"]
    same(case["input"].encode(), growth.encode().encode())
    growth.checkpoint.check(VerifierKey.parse(group["key"]))
    growth.check(known and Checkpoint(known["origin"], known["size"], known["root"]))
    return {"old": number(growth.old), "path": [node.hex() for node in growth.path]} | checkpoint_json(growth.checkpoint)


def run_policy(group, case):
    witnesses, quorum, log = Policy.parse(case["policy"]).judge(Checkpoint.parse(case["input"]))
    return {"witnesses": [[name, number(time)] for name, time in witnesses], "quorum": quorum, "log": log}


def run_envelope(group, case):
    envelope = Envelope.decode(case["input"], LIMIT["body-max"])
    same(case["input"], envelope.encode())
    return {"envelopeKind": BUS_KIND[envelope.kind], "scheme": BUS_SCHEME[envelope.scheme], "keyId": envelope.key_id.hex(), "sender": envelope.sender.hex(),
            "tag": envelope.tag.hex(), "payload": envelope.payload.hex()}


def demanded(case) -> tuple[str, bytes | None]:
    return next(name for name, scheme in BUS_SCHEME.items() if scheme == case["scheme"]), case["macKey"]


def run_bus_request(group, case):
    request = BusRequest.read(Envelope.decode(case["input"], LIMIT["body-max"]), LIMIT["body-max"], *demanded(case))
    origin, dispatch = request.layers[0], request.layers[-1]
    return {"head": request.head.hex(), "layers": len(request.layers), "audience": origin.get("audience").hex(), "target": request.target.decode(),
            "subject": dispatch.get("subject").decode(), "deadline": number(int.from_bytes(dispatch.get("deadline"), "big"))}


def run_bus_answer(group, case):
    hashes = chain(bus_layers(bytes.fromhex(group["request"]), LIMIT["body-max"], "NAT-11", 0))
    layer, hash = read_bus_answer(Envelope.decode(case["input"], LIMIT["body-max"]), LIMIT["body-max"], *demanded(case), len(hashes), hashes[-1])
    return {"hash": hash.hex(), "status": layer.status, "body": text_of(layer.body), "signed": layer.is_signed}


def run_bus_cancel(group, case):
    envelope = Envelope.decode(case["input"], 0)
    require(envelope.kind == "cancel" and len(envelope.payload) == 32, "NAT-10", "no cancel")
    envelope.check(envelope.payload, *demanded(case), "NAT-15")
    return {"head": envelope.payload.hex()}


def run_bus_ask(group, case):
    envelope = Envelope.decode(case["input"], 0)
    ask = Ask.read(envelope, case["node"], case["at"])
    return {"keyId": envelope.key_id.hex(), "actor": envelope.sender.hex(), "instance": ask.instance.hex(), "sealingKey": ask.sealing_key.hex(),
            "time": number(ask.time), "hash": H(case["input"]).hex()}


def run_bus_keys(group, case):
    keys, request_key, answer_key = read_keys(Envelope.decode(case["input"], 0), Envelope.decode(bytes.fromhex(group["ask"]), 0), bytes.fromhex(group["secret"]), case["at"])
    return {"list": list_json(keys), "requestKey": request_key.hex(), "answerKey": answer_key.hex()}


def run_token(group, case):
    return tokens.read_token(case["token"], bytes.fromhex(group["root"]), [bytes.fromhex(key) for key in group["keys"]], case["now"])


NAMED_KINDS = {"FRM-3": "unknown-critical", "FRM-13": "unknown-critical", "FRM-5": "unexpected", "QUI-19": "unexpected"}


def compute(group: dict, case: dict) -> dict:
    """`result`, `rule`, `kind` and what is expected besides."""
    try:
        return {"result": "valid"} | globals()["run_" + group["type"].replace("-", "_")](group, case)
    except Incomplete:
        return {"result": "incomplete"}
    except Malformed as error:
        kind = "limit" if error.kind == "limit" else NAMED_KINDS.get(error.rule)
        return {"result": "invalid", "rule": error.rule, "kind": kind, "why": str(error)} | getattr(error, "extra", {})


# --- files of cases -----------------------------------------------------------------------------------------------------


class File:
    def __init__(self, name: str, **notes: tuple[str, str, str]):
        """`notes`: flag = (bug type, description, rule ids)."""
        self.name, self.groups, self.count = name, [], 0
        self.notes = {flag: {"bugType": bug, "description": text, "rules": rules.split()} for flag, (bug, text, rules) in notes.items()}

    def group(self, type: str, **keys) -> None:
        self.groups.append({"type": type, **keys, "tests": []})

    def case(self, comment: str, flags: str, expect: str = "valid", assumes: str | None = None, **inputs) -> None:
        """`expect`: valid, incomplete, the rule that is broken (with ? where it may be another), or invalid where the text gives it no id."""
        self.count += 1
        for flag in flags.split():
            assert flag in self.notes, f"{self.name}: no note {flag}"
        found = compute(self.groups[-1], inputs)
        rule, why = found.pop("rule", None), found.pop("why", "")
        got = rule or "invalid" if found["result"] == "invalid" else found["result"]
        assert got == expect.removesuffix("?"), f"{self.name} {self.count} ({comment}): {expect} wanted, {got} found. {why}"
        sure, kind = not expect.endswith("?"), found.pop("kind", None)
        told = {"rule": rule if sure else None, "kind": kind if sure else None, "assumes": assumes}
        result = found.pop("result")
        self.groups[-1]["tests"].append({"tcId": self.count, "comment": comment, "flags": flags.split()} | to_json(inputs) | {
            "result": result} | {key: value for key, value in told.items() if value} | found)

    def json(self) -> dict:
        used = {flag for group in self.groups for test in group["tests"] for flag in test["flags"]}
        assert used == set(self.notes), f"{self.name}: notes not used: {set(self.notes) - used}"
        return {"algorithm": f"cmtp/{self.name}", "schema": "v1", "numberOfTests": self.count, "notes": self.notes, "testGroups": self.groups}


def to_json(value):
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key: to_json(one) for key, one in value.items()}
        case list() | tuple():
            return [to_json(one) for one in value]
        case bool():
            return value
        case int():
            return number(value)
    return value


# --- building blocks ----------------------------------------------------------------------------------------------------

T0 = 1_760_000_000_000_000           # microseconds
NEVER = TIME_END - 1


def seed(label: str) -> bytes:
    return H(b"seed ", label.encode())


def salt(label: str) -> bytes:
    return H(b"salt ", label.encode())[:16]


def some(label: str, size: int = 32) -> bytes:
    return b"".join(H(label.encode(), u(i, 32)) for i in range(size // 32 + 1))[:size]


ROOT, NODE, CALLER, SERVICE, OTHER = (public_key(seed(name)) for name in ("root", "node", "caller", "service", "other"))
ID = u(T0 // 1000, 48) + bytes.fromhex("7abc8def0123456789ab")
TOKEN = b"header.claims.signature"


def public(*pairs) -> list[Field]:
    return [Field(name, value if isinstance(value, bytes) else value.encode()) for name, value in pairs]


def private(*pairs) -> list[Private]:
    return [Private(salt(f"private {i} {field.name}"), field) for i, field in enumerate(public(*pairs))]


def origin(target="0xS:0x001:hello_world", args: str | None = None, body: bytes | None = None, signed=False, audience=ROOT, drop=(), more=(), **keys) -> Layer:
    fields = [field for field in public(("message-id", ID), ("audience", audience), ("target", target), ("not-after", u(T0 + 60_000_000, 64)), *more)
              if field.name not in drop]
    layer = Layer(0, BODY if body is not None else 0, 0, CALLER, T0, salt("origin"), fields, private(*([("args", args)] if args else [])),
                  body, salt("origin body") if body is not None else None, **keys)
    return layer.sign(seed("caller"), 0, ZERO) if signed else layer


def step(name: str, status=0, body: bytes | None = None, flags=0, actor=NODE, time=1000, fields=(), hidden=(), label="") -> Layer:
    return Layer(STEP[name], flags | (BODY if body is not None else 0), status, actor, T0 + time, salt(f"{name} {label}"), public(*fields), private(*hidden),
                 body, salt(f"{name} body {label}") if body is not None else None)


def admit(status=0, **keys) -> Layer:
    fields = [("connection-kind", b"\0"), ("exporter-digest", some("exporter")), ("token-digest", H(TOKEN) if status not in (401, 511) else ZERO),
              ("policy-digest", H(b""))]
    fields += [("policies", "0xS:**")] if status < 400 else [("remedy", {511: "create-identity", 401: "renew-token", 413: "send-less"}.get(status, "ask-access"))]
    return step("admit", status, fields=fields, **keys)


def key_list(count=5, number=7, root="root", **windows) -> KeyList:
    keys = [ListedKey(use, key, 0, NEVER) for use, key in ((1, public_key(seed("tls"))), (2, public_key(seed("token"))), (3, NODE), (4, public_key(seed("log"))))]
    keys.append(ListedKey(3, public_key(seed("old node")), 0, T0 - 1))
    return KeyList(public_key(seed(root)), number, sorted(keys[:count])).sign(seed(root))


def receipt(status, layers, hash, opcode=0x20, type=3, count=1, offset=0, mode=2, key="node", message_id=ID, flags: int | None = None, first: int | None = None, origin="example.org/cmtp",
            time=T0 + 5000) -> Receipt:
    """R0 of a commit in which this entry stands among others at `offset`."""
    flags = (ENTRY_FLAG["async"] if mode == MODE["async"] else 0) if flags is None else flags
    own = entry(type, opcode, flags, status, layers, time, message_id, hash)
    leaves = [leaf_hash(own if i == offset else some(f"entry {i}", 68)) for i in range(count)]
    first = (1000 if mode == 2 else NO_INDEX) if first is None else first
    return Receipt(origin, first, count, merkle_root(leaves), mode, time, 60 if mode else 0, b"", type, opcode, flags, message_id, offset,
                   merkle_path(leaves, offset)).sign(seed(key))


def seal_of(layers: list[Layer], name="seal", key="node", items: dict | None = None, heads=False, keys: KeyList | None = None, unlogged=False, **r0) -> Seal:
    hashes = chain(layers)
    hash = seal_hash(name, public_key(seed(key)), len(layers), hashes[-1])
    r0.setdefault("type", 5 if name == "interim" else 3)
    found = {ITEM["unlogged"]: b""} if unlogged else {ITEM["r0"]: receipt(message_status(layers), len(layers), hash, key=key, **r0).encode()}
    if layers[0].flags & BODY_UNREAD and name == "seal":
        found[ITEM["body-unread"]] = b""
    if heads:
        found[ITEM["heads"]] = b"".join(hashes)
    if keys:
        found[ITEM["keys"]] = keys.encode()
    return decode_seal(name, public_key(seed(key)), hash, found | (items or {}), len(layers))


def decode_seal(name, key, hash, items, count) -> Seal:
    seal = Seal(name, key, hash, dict(sorted(items.items())))
    try:
        seal.receipt, seal.keys = seal._receipt(), seal._keys()
    except Malformed:
        seal.receipt = seal.keys = None
    return seal


def message(layers: list[Layer], interims=(), interim: dict | None = None, **keys) -> Message:
    """`interims`: after how many layers an interim seal stands; `interim`: what is special about those."""
    first = [(after, seal_of(layers[:after], "interim", **{"opcode": keys.get("opcode", 0x20), "count": 2, "offset": 1} | (interim or {}))) for after in interims]
    keys.setdefault("keys", key_list())
    return Message(list(layers), first, seal_of(layers, **keys))


def raw_layer(step=1, flags=0, status=0, actor=NODE, time=T0, public=(), private=(), public_count=None, private_count=None, tail=b"") -> bytes:
    """A LAYER frame, whatever stands in it."""
    return frame("layer", b"".join([
        varint(step), varint(flags), varint(status), actor, varint(time), varint(len(public) if public_count is None else public_count), salt("raw"), *public,
        varint(len(private) if private_count is None else private_count), *private, tail]))


def literal(name: bytes, value: bytes = b"") -> bytes:
    return b"\0" + varint(len(name)) + name + varint(len(value)) + value


def numbered(name: str | int, value: bytes | str = b"") -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(FIELD.get(name, name)) + varint(len(value)) + value


def flip(data: bytes, at: int, bit=1) -> bytes:
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1:] if at >= 0 else flip(data, len(data) + at, bit)


# --- the cases ----------------------------------------------------------------------------------------------------------


def make_varint() -> File:
    f = File("varint",
             Value=("BASIC", "a varint at an edge of its form", "CNV-1 CNV-5"),
             Overlong=("SECOND_ENCODING", "a longer form than the value needs is taken for the value", "CNV-1 CNV-5"),
             Truncated=("MISSING_BYTES", "a varint that is cut is taken for a value or for an error", "CNV-4"),
             BytesFollow=("OVERREAD", "a reader takes bytes that are not the varint's", "CNV-1"))
    f.group("varint")
    for value in (0, 1, 63, 64, 16383, 16384, 2 ** 30 - 1, 2 ** 30, 2 ** 53 - 1, 2 ** 53, 2 ** 62 - 1):
        f.case(f"{value}", "Value", input=varint(value))
    f.case("RFC 9000, appendix A.1", "Value", input=bytes.fromhex("c2197c5eff14e88c"))
    f.case("37, then other bytes", "BytesFollow", input=bytes.fromhex("25ffff"))
    f.case("494878333, then other bytes", "BytesFollow", input=bytes.fromhex("9d7f3e7d00"))
    for text, comment in (("4025", "37 in two bytes"), ("403f", "63 in two bytes"), ("80000000", "0 in four bytes"), ("80003fff", "16383 in four bytes"),
                          ("c000000000000000", "0 in eight bytes"), ("c00000003fffffff", "2^30 - 1 in eight bytes")):
        f.case(comment, "Overlong", "CNV-1", input=bytes.fromhex(text))
    for text, comment in (("", "no byte"), ("7b", "one byte of two"), ("9d7f3e", "three bytes of four"), ("c2197c5eff14e8", "seven bytes of eight")):
        f.case(comment, "Truncated", "incomplete", input=bytes.fromhex(text))
    return f


def make_frame() -> File:
    f = File("frame",
             Payload=("BASIC", "the payload of each type of frame", "FRM-1 CNV-5"),
             Unknown=("EXTENSION", "an unknown frame of odd type is an error, or one of even type is not", "FRM-2 FRM-3"),
             WrongStream=("CONFUSION", "a frame is taken on a stream where it may not stand", "FRM-5 QUI-9"),
             Trailing=("SECOND_ENCODING", "bytes after what a payload holds are ignored", "FRM-1 CNV-5"),
             Missing=("MISSING_BYTES", "a payload that is too short for what it holds", "FRM-1 FRM-8 FRM-18"),
             Limit=("DENIAL_OF_SERVICE", "a reader waits for, or makes room for, more than the limit", "CNV-4 LIM-1 LIM-2 FRM-4"),
             Truncated=("MISSING_BYTES", "a frame that is cut is an error, or a value", "CNV-4"),
             Form=("SECOND_ENCODING", "a form that is not defined, or not here; a varint in a longer form", "FRM-9 FRM-18 CNV-1"),
             Order=("SECOND_ENCODING", "pairs or items in another order, or twice", "FRM-19 FRM-12"),
             Text=("SECOND_ENCODING", "a CHECKPOINT in another spelling", "FRM-20 LOG-7"))
    end_, signature = b"\0" + salt("end"), some("signature", 64)
    admitted = admit()
    sealed = seal_of([origin(), admitted])
    f.group("frame", stream="request")
    f.case("LAYER", "Payload", input=admitted.encode(), layer=1)
    f.case("LAYER, an origin, signed", "Payload", input=origin(signed=True).encode(), layer=0)
    f.case("BODY", "Payload", input=frame("body", b"hello"))
    f.case("BODY, other bytes follow", "Payload", input=frame("body", b"hello") + frame("end", end_))
    f.case("BODY of body-frame-max bytes", "Payload", input=frame("body", b"a" * 16384))
    f.case("BODY without a byte", "Missing", "FRM-8", input=frame("body", b""))
    f.case("END", "Payload", input=frame("end", end_), signed=False)
    f.case("END of a signed layer", "Payload", input=frame("end", end_ + signature), signed=True)
    f.case("END of a signed layer without the signature", "Missing", "FRM-1", input=frame("end", end_), signed=True)
    f.case("END of an unsigned layer with a signature", "Trailing", "FRM-1", input=frame("end", end_ + signature), signed=False)
    f.case("END without its salt", "Missing", "FRM-1", input=frame("end", b"\0"), signed=False)
    f.case("END withheld on a request stream", "Form", "FRM-9", input=frame("end", b"\1" + some("B")), signed=False)
    f.case("END, form 2", "Form", "FRM-9", input=frame("end", b"\2" + some("B")), signed=False)
    f.case("END, one byte too long", "Limit", "LIM-2", input=bytes.fromhex("06") + varint(98), signed=False)
    f.case("SEAL", "Payload", input=sealed.encode())
    f.case("SEAL without F", "Missing", "FRM-1", input=frame("seal", NODE))
    f.case("INTERIM", "Payload", input=seal_of([origin(), admitted], "interim").encode())
    f.case("AUTH, digest", "Payload", input=frame("auth", b"\0" + H(TOKEN)))
    f.case("AUTH, token and proof", "Payload", input=frame("auth", b"\1" + signature + TOKEN))
    f.case("AUTH, the longest token", "Payload", input=frame("auth", b"\1" + signature + b"t" * 4096))
    f.case("AUTH, a token of 4097 bytes", "Limit", "LIM-2", input=varint(0x0e) + varint(4162) + b"\1" + signature + b"t" * 4097)
    f.case("AUTH, an empty token", "Missing", "FRM-18", input=frame("auth", b"\1" + signature))
    f.case("AUTH, form 2", "Form", "FRM-18", input=frame("auth", b"\2" + signature + TOKEN))
    f.case("AUTH, a digest and one byte", "Trailing", "FRM-1", input=frame("auth", b"\0" + H(TOKEN) + b"\0"))
    f.case("AUTH, form 0 in two bytes", "Form", "CNV-1", input=frame("auth", b"\x40\0" + H(TOKEN)))
    f.case("unknown, odd", "Unknown", input=Frame(0x21, b"later").encode())
    f.case("unknown, odd, empty, a large type", "Unknown", input=Frame(2 ** 62 - 1, b"").encode())
    f.case("unknown, odd: 0x01", "Unknown", input=Frame(1, b"x").encode())
    f.case("unknown, even", "Unknown", "FRM-3", input=Frame(0x20, b"later").encode())
    f.case("unknown, even: 0x00", "Unknown", "FRM-3", input=Frame(0, b"").encode())
    f.case("unknown, odd, too long", "Limit", "FRM-4", input=varint(0x21) + varint(65537))
    f.case("CORE on a request stream", "WrongStream", "FRM-5", input=frame("core", admitted.core(1, ZERO)), layer=1)
    growth = Growth(3, grown_path(leaves_of(7), 3), checkpoint_of(leaves_of(7), ["w1"]))
    f.case("CHECKPOINT on a request stream", "WrongStream", "FRM-5", input=frame("checkpoint", growth.encode().encode()))
    f.case("SETTINGS on a request stream", "WrongStream", "FRM-5", input=frame("settings", b""))
    f.case("KEYS on a request stream", "WrongStream", "FRM-5", input=frame("keys", key_list().encode()))
    f.case("LAYER, too long: the length alone has come", "Limit", "LIM-2", input=varint(2) + varint(65537), layer=1)
    f.case("BODY, too long", "Limit", "LIM-2", input=varint(4) + varint(16385))
    f.case("SEAL, too long", "Limit", "LIM-2", input=varint(8) + varint(131073))
    f.case("a length of 2^62 - 1", "Limit", "LIM-2", input=varint(4) + varint(2 ** 62 - 1))
    f.case("LAYER, one byte left over", "Trailing", "FRM-1", input=raw_layer(tail=b"\0"), layer=1)
    f.case("nothing", "Truncated", "incomplete", input=b"")
    f.case("a type", "Truncated", "incomplete", input=b"\4")
    f.case("a type and half of the length", "Truncated", "incomplete", input=b"\4\x40")
    f.case("all but the last byte", "Truncated", "incomplete", input=frame("body", b"hello")[:-1])
    f.case("a LAYER but for its last byte", "Truncated", "incomplete", input=admitted.encode()[:-1], layer=1)
    f.case("the type in two bytes", "Form", "CNV-1", input=b"\x40\4\1a")
    f.case("the length in two bytes", "Form", "CNV-1", input=b"\4\x40\1a")
    f.group("frame", stream="stored")
    f.case("END, withheld", "Payload", input=frame("end", b"\1" + some("B")), signed=False)
    f.case("END, withheld, signed: the longest END", "Payload", input=frame("end", b"\1" + some("B") + signature), signed=True)
    f.case("CORE", "Payload", input=frame("core", admitted.core(1, ZERO)), layer=1)
    signed = step("serve", 200).sign(seed("service"), 1, ZERO)
    f.case("CORE, signed", "Payload", input=signed.withhold(1, ZERO).encode(), layer=1)
    f.case("CORE, signed, without the signature", "Missing", "FRM-1", input=frame("core", signed.core(1, ZERO)), layer=1)
    f.case("CORE, unsigned, with a signature", "Trailing", "FRM-1", input=frame("core", admitted.core(1, ZERO) + signature), layer=1)
    f.case("CORE, 151 bytes", "Missing", "FRM-1", input=frame("core", admitted.core(1, ZERO)[:-1]), layer=1)
    f.case("CORE, too long", "Limit", "LIM-2", input=varint(0x0c) + varint(217), layer=1)
    f.case("AUTH in a file", "WrongStream", "FRM-5", input=frame("auth", b"\0" + H(TOKEN)))
    f.group("frame", stream="control")
    f.case("SETTINGS, empty", "Payload", input=frame("settings", b""))
    f.case("SETTINGS", "Payload", input=frame("settings", encode_settings([(1, 65536), (2, 2 ** 40), (4, 2)])))
    f.case("SETTINGS, an unknown identifier", "Payload", input=frame("settings", encode_settings([(2, 1), (99, 2 ** 60)])))
    f.case("SETTINGS, an identifier twice", "Order", "FRM-19", input=frame("settings", encode_settings([(2, 1), (2, 1)])))
    f.case("SETTINGS, descending", "Order", "FRM-19", input=frame("settings", encode_settings([(3, 1), (2, 1)])))
    f.case("SETTINGS, an identifier without a value", "Missing", "FRM-1", input=frame("settings", encode_settings([(2, 1)]) + b"\3"))
    f.case("SETTINGS, too long", "Limit", "LIM-2", input=varint(0x10) + varint(1025))
    f.case("GOAWAY", "Payload", input=frame("goaway", varint(400)))
    f.case("GOAWAY, the largest", "Payload", input=frame("goaway", varint(2 ** 62 - 1)))
    f.case("GOAWAY, empty", "Missing", "FRM-1", input=frame("goaway", b""))
    f.case("GOAWAY, a byte left over", "Trailing", "FRM-1", input=frame("goaway", b"\4\0"))
    f.case("GOAWAY, too long", "Limit", "LIM-2", input=varint(0x12) + varint(9))
    f.case("KEYS", "Payload", input=frame("keys", key_list().encode()))
    f.case("KEYS, a byte left over", "Trailing", "FRM-1", input=frame("keys", key_list().encode() + b"\0"))
    f.case("KEYS, too long", "Limit", "LIM-2", input=varint(0x14) + varint(LIMIT["keys-frame-max"] + 1))
    f.case("CHECKPOINT", "Payload", input=frame("checkpoint", growth.encode().encode()))
    f.case("CHECKPOINT, nothing was kept", "Payload", input=frame("checkpoint", Growth(0, [], growth.checkpoint).encode().encode()))
    f.case("CHECKPOINT, what it proves is not looked at", "Payload", input=frame("checkpoint", Growth(9, [ZERO], growth.checkpoint).encode().encode()))
    f.case("CHECKPOINT, empty", "Text", "FRM-20", input=frame("checkpoint", b""))
    f.case("CHECKPOINT, without old", "Text", "FRM-20", input=frame("checkpoint", growth.checkpoint.note().encode()))
    f.case("CHECKPOINT, a byte left over", "Text", "FRM-20", input=frame("checkpoint", growth.encode().encode() + b"x"))
    f.case("CHECKPOINT, no text", "Text", "FRM-20", input=frame("checkpoint", growth.encode().encode() + b"\xff"))
    f.case("CHECKPOINT, 64 hashes", "Text", "FRM-20", input=frame("checkpoint", Growth(3, [ZERO] * 64, growth.checkpoint).encode().encode()))
    f.case("CHECKPOINT, too long", "Limit", "LIM-2", input=varint(0x15) + varint(20481))
    f.case("LAYER on a control stream", "WrongStream", "FRM-5", input=admitted.encode(), layer=1)
    return f


def make_field() -> File:
    f = File("field",
             Table=("BASIC", "names by number and by letters", "FLD-2 CNV-1 CNV-5"),
             Name=("SECOND_ENCODING", "a name that is none is taken", "FLD-1"),
             LiteralInTable=("SECOND_ENCODING", "a name in the table is taken as a literal, which gives it two encodings", "FLD-2 CNV-5"),
             Class=("PRIVACY", "one of CMTP's own fields in the wrong list: a secret among the public ones", "FLD-5"),
             Kind=("TYPE_CONFUSION", "a value that is not of its kind", "FLD-6 CNV-2 FQN-7"),
             Twice=("AMBIGUITY", "one of CMTP's own fields twice: two readers take different ones", "FLD-4"),
             Repeat=("OVERSTRICT", "header fields and literals may be repeated, in any order", "FLD-3 FLD-4"),
             Limit=("DENIAL_OF_SERVICE", "a name or a value above its limit", "CNV-4 LIM-2"),
             Missing=("MISSING_BYTES", "a field that is cut in a payload", "FRM-1"))
    f.group("fields", **{"class": "public"})
    f.case("number 1", "Table", input=numbered("accept", "text/html"))
    f.case("number 26, any bytes, any letters", "Table", input=numbered("transferred", b"\0\xff"))
    f.case("an empty value", "Table", input=numbered("date"))
    f.case("a private header field among the public ones: only CMTP's own are bound", "Table", input=numbered("host", "example.org"))
    f.case("a literal", "Table", input=literal(b"x-thing", b"1"))
    f.case("a literal of one letter", "Table", input=literal(b"x"))
    f.case("every sign that a name may hold", "Name", input=literal(b"!#$%&'*+-.^_`|~09az"))
    f.case("a name of 128 bytes", "Name", input=literal(b"n" * 128))
    f.case("a name of 129 bytes", "Limit", "LIM-2", input=literal(b"n" * 129))
    f.case("an empty name", "Name", "FLD-1", input=literal(b""))
    for raw, comment in ((b"X-Thing", "an upper-case letter"), (b"a b", "a space"), (b"a:b", "a colon"), (b"a\0", "NUL"), ("é".encode(), "not ASCII"), (b"a\n", "a line feed at the end"),
                         (b'a"b', "a quotation mark"), (b"a/b", "a slash")):
        f.case(f"a name with {comment}", "Name", "FLD-1", input=literal(raw))
    f.case("a header field as literal", "LiteralInTable", "FLD-2", input=literal(b"accept", b"*/*"))
    f.case("one of CMTP's own as literal", "LiteralInTable", "FLD-2", input=literal(b"trace-parent", b"x"))
    for gap in (27, 31, 64, 2 ** 62 - 1):
        f.case(f"number {gap} is not in the table", "Table", "FLD-2", input=numbered(gap, b""))
    f.case("the index in two bytes", "Table", "CNV-1", input=b"\x40\x01\0")
    f.case("the same header field twice", "Repeat", input=numbered("accept", "a") * 2)
    f.case("the same literal twice, not sorted", "Repeat", input=literal(b"z") + literal(b"a") + literal(b"z"))
    f.case("CMTP's own, not sorted", "Repeat", input=numbered("journal", b"\2") + numbered("detail", "no"))
    f.case("target twice", "Twice", "FLD-4", input=numbered("target", "0xS:a") + numbered("target", "0xS:b"))
    f.case("no-effect twice, the same", "Twice", "FLD-4", input=numbered("no-effect") + numbered("accept") + numbered("no-effect"))
    f.case("args among the public fields", "Class", "FLD-5", input=numbered("args", "[]"))
    f.case("a value of 16384 bytes", "Limit", input=numbered("etag", b"v" * 16384))
    f.case("a value of 16385 bytes: the length alone has come", "Limit", "LIM-2", input=varint(FIELD["etag"]) + varint(16385))
    f.case("a value that is cut", "Missing", "FRM-1", input=numbered("etag", b"value")[:-1])
    f.case("a name that is cut", "Missing", "FRM-1", input=literal(b"name")[:4])
    for name, good, bad in (("message-id", ID, flip(ID, 6, 0x10)), ("message-id", flip(ID, 9), flip(ID, 8, 0x40)), ("audience", ROOT, ROOT[:-1]), ("not-after", u(2 ** 62 - 1, 64), u(2 ** 62, 64)),
                            ("head", ZERO, ZERO + b"\0"), ("journal", b"\7", b""), ("connection-kind", b"\xff", b"\0\0"), ("bus-auth", b"\3", b""), ("outcome-unknown", b"", b"\1"),
                            ("retry-after", u(2 ** 64 - 1, 64), u(1, 32)), ("detail", "für", b"f\xfcr"), ("policies", "", b"\xed\xa0\x80"), ("peer", OTHER, b"")):
        good, bad = (value.encode() if isinstance(value, str) else value for value in (good, bad))
        f.case(f"{name}: a {FIELD_KIND[name]}", "Kind", input=numbered(name, good))
        f.case(f"{name}: not a {FIELD_KIND[name]}", "Kind", "FLD-6", input=numbered(name, bad))
    f.group("fields", **{"class": "private"})
    f.case("args", "Class Kind", input=numbered("args", '["Dexter"]'))
    f.case("args that are no array", "Kind", "FQN-7?", input=numbered("args", '"Dexter"'))
    f.case("target among the private fields", "Class", "FLD-5", input=numbered("target", "0xS:a"))
    f.case("a public header field among the private ones", "Table", input=numbered("date", "today"))
    f.case("args twice", "Twice", "FLD-4", input=numbered("args", "[]") * 2)
    return f


def make_leaf() -> File:
    f = File("leaf",
             Leaf=("BASIC", "the hash of public fields, a private field, all leaves of a layer", "HSH-1"),
             Empty=("EDGE", "nothing to hash: the leaf is there also without fields", "HSH-1"),
             NameNotIndex=("WRONG_PREIMAGE", "a name is hashed as its letters, never as its number; no varint is hashed", "HSH-1"),
             Framing=("COLLISION", "lengths stand in the pre-image, so that name and value can't be shifted; tags keep kinds apart", "HSH-1"),
             Order=("REORDER", "the order of fields is hashed", "FLD-3"))
    f.group("public-leaf")

    def leaf(comment, flags, *pairs, label="leaf"):
        f.case(comment, flags, salt=salt(label), fields=[field_json(field) for field in public(*pairs)])
    leaf("no field", "Empty")
    leaf("a literal", "Leaf", ("x-thing", b"1"))
    leaf("a field with a number", "NameNotIndex", ("accept", b"*/*"))
    leaf("ab = c", "Framing", ("ab", b"c"))
    leaf("a = bc", "Framing", ("a", b"bc"))
    leaf("two fields", "Order", ("etag", b"1"), ("date", b"2"))
    leaf("the two, turned round", "Order", ("date", b"2"), ("etag", b"1"))
    leaf("one field twice", "Order", ("etag", b"1"), ("etag", b"1"))
    leaf("a value of 300 bytes: a u32 length", "Framing", ("etag", b"v" * 300))
    leaf("another salt", "Leaf", ("x-thing", b"1"), label="other")
    f.group("private-leaf")
    f.case("args", "Leaf NameNotIndex", salt=salt("p"), name="args", value=b'["Dexter"]')
    f.case("an empty value", "Empty", salt=salt("p"), name="args", value=b"")
    f.case("a literal", "Leaf", salt=salt("p"), name="x-thing", value=b"1")
    f.case("ab = c", "Framing", salt=salt("leaf"), name="ab", value=b"c")
    f.group("fields-root")
    f.case("no private field", "Empty", publicLeaf=some("P"), privateLeaves=[])
    f.case("one", "Leaf", publicLeaf=some("P"), privateLeaves=[some("1")])
    f.case("two", "Order", publicLeaf=some("P"), privateLeaves=[some("1"), some("2")])
    f.case("two, turned round", "Order", publicLeaf=some("P"), privateLeaves=[some("2"), some("1")])
    return f


def make_body() -> File:
    f = File("body",
             Hash=("BASIC", "the hash of a body", "HSH-4"),
             AbsentOrEmpty=("CONFUSION", "an empty body and no body are different", "HSH-4"),
             Cuts=("WRONG_PREIMAGE", "where BODY frames are cut is no part of the message", "FRM-8 FRM-10"),
             StoredCuts=("SECOND_ENCODING", "a file whose body is cut otherwise", "STO-3"),
             Withheld=("REDACTION", "a withheld body travels as its hash, alone, and in files only", "FRM-9 HSH-2"),
             Truncated=("MISSING_BYTES", "a body whose END has not come", "CNV-4"),
             Place=("CONFUSION", "other frames within a body", "FRM-7 FRM-8"))
    f.group("body")
    f.case("no body", "AbsentOrEmpty", salt=None, body=None)
    f.case("an empty body", "AbsentOrEmpty", salt=salt("body"), body=b"")
    f.case("one zero byte", "Hash", salt=salt("body"), body=b"\0")
    f.case("hello", "Hash", salt=salt("body"), body=b"hello")
    f.case("hello, another salt", "Hash", salt=salt("other"), body=b"hello")
    f.case("300 bytes", "Hash", salt=salt("body"), body=some("body", 300))
    end_, full = frame("end", b"\0" + salt("body")), b"a" * 16384
    f.group("body-frames", stream="request")
    f.case("one frame", "Cuts", signed=False, input=frame("body", b"hello") + end_)
    f.case("three frames: the same hash", "Cuts", signed=False, input=frame("body", b"h") + frame("body", b"el") + frame("body", b"lo") + end_)
    f.case("END alone: an empty body", "AbsentOrEmpty", signed=False, input=end_)
    f.case("signed", "Hash", signed=True, input=frame("body", b"hello") + frame("end", b"\0" + salt("body") + some("signature", 64)))
    f.case("an empty BODY", "Cuts", "FRM-8", signed=False, input=frame("body", b"h") + frame("body", b"") + end_)
    f.case("withheld", "Withheld", "FRM-9", signed=False, input=frame("end", b"\1" + some("B")))
    f.case("no END yet", "Truncated", "incomplete", signed=False, input=frame("body", b"hello"))
    f.case("an unknown odd frame between", "Place", signed=False, input=frame("body", b"he") + Frame(0x21, b"x").encode() + frame("body", b"llo") + end_)
    f.case("LAYER within the body", "Place", "FRM-7", signed=False, input=frame("body", b"he") + raw_layer() + end_)
    f.group("body-frames", stream="stored")
    f.case("one frame", "StoredCuts", signed=False, input=frame("body", b"hello") + end_)
    f.case("a full frame alone", "StoredCuts", signed=False, input=frame("body", full) + end_)
    f.case("a full frame and the rest", "StoredCuts", signed=False, input=frame("body", full) + frame("body", b"b") + end_)
    f.case("a frame that is not full, then another", "StoredCuts", "STO-3", signed=False, input=frame("body", b"he") + frame("body", b"llo") + end_)
    f.case("withheld", "Withheld", signed=False, input=frame("end", b"\1" + some("B")))
    f.case("withheld, signed", "Withheld", signed=True, input=frame("end", b"\1" + some("B") + some("signature", 64)))
    f.case("withheld after a BODY frame", "Withheld", "FRM-9", signed=False, input=frame("body", b"hello") + frame("end", b"\1" + some("B")))
    f.case("INTERIM within the body", "Place", "FRM-7", signed=False, input=frame("body", b"he") + seal_of([origin(), admit()], "interim").encode() + end_)
    return f


def make_layer() -> File:
    f = File("layer",
             Full=("BASIC", "a layer of each shape", "LAY-6 HSH-4 CNV-5"),
             Signed=("BASIC", "a layer's signature over its hash", "LAY-9"),
             BadSignature=("FORGERY", "a layer with the flag signed and no valid signature", "LAY-9 FRM-1"),
             Redacted=("REDACTION", "parts that are withheld leave the hash as it is", "HSH-1 HSH-2 HSH-3 STO-8"),
             OnlyStored=("REDACTION", "what is withheld does not travel on a request stream", "FRM-5 FRM-6 FRM-9 LAY-2"),
             CoreDisagrees=("BROKEN_CHAIN", "a CORE with another number, prev, version, step, flags, status or time, or a B without a body", "FRM-11 HSH-4 CNV-2 LAY-4 LAY-5"),
             FlagBits=("FORWARD", "flags that are not defined, or not here", "LAY-1 LAY-2 LAY-3"),
             Origin=("CONFUSION", "layer 0 is the origin with all that it carries, and no other layer is", "LAY-4 LAY-8"),
             Range=("OVERFLOW", "a step, status, or count that is too large", "LAY-5 LAY-10 LIM-2"),
             Form=("SECOND_ENCODING", "a private field of a form that is not defined", "FRM-6"),
             Truncated=("MISSING_BYTES", "a layer whose frames have not all come", "CNV-4"))
    prev = some("prev")

    def layer(comment, flags, expect="valid", data=b"", place=1, prev=prev, assumes=None):
        f.case(comment, flags, expect, assumes, number=place, prev=prev if place else ZERO, input=data)
    f.group("layer", stream="request")
    layer("an origin", "Full", data=origin().encode(), place=0)
    layer("an origin, signed, with args and body", "Full Signed", data=origin(args='["Dexter"]', body=b"hello", signed=True).encode(), place=0)
    layer("no field at all", "Full", data=raw_layer())
    layer("public and private fields", "Full", data=step("serve", 200, fields=[("etag", "1"), ("x-thing", "2")], hidden=[("host", "h"), ("x-secret", "s")]).encode())
    layer("an empty body", "Full", data=step("serve", 200, b"").encode())
    layer("a body", "Full", data=step("serve", 200, b"hello").encode())
    layer("a signed layer with a body", "Signed", data=step("serve", 200, b"hello").sign(seed("service"), 1, prev).encode())
    layer("a step that is not known", "Full", data=raw_layer(step=4000))
    layer("the largest step and status", "Range", data=raw_layer(step=65535, status=999))
    layer("a status that is not known", "Full", data=raw_layer(step=4, status=299))
    layer("the largest time", "Range", data=raw_layer(time=NEVER))
    layer("128 fields, public and private", "Range", data=raw_layer(public=[literal(b"p")] * 100, private=[b"\0" + salt("s") + literal(b"q")] * 28))
    layer("a segment, complete", "FlagBits", data=raw_layer(step=10, flags=8))
    signed = step("serve", 200, fields=[("etag", "1")]).sign(seed("service"), 1, prev)
    layer("signed for another place", "BadSignature", "LAY-9", signed.encode(), place=2)
    layer("signed after another layer", "BadSignature", "LAY-9", signed.encode(), prev=some("another"))
    layer("a public value changed after signing", "BadSignature", "LAY-9", replace(signed, public=public(("etag", "2"))).encode())
    layer("signed by another key", "BadSignature", "LAY-9", replace(signed, signature=sign(seed("other"), "layer", signed.hash(1, prev))).encode())
    layer("signed for another use", "BadSignature", "LAY-9", replace(signed, signature=sign(seed("service"), "r0", signed.hash(1, prev))).encode())
    layer("the signature left out", "BadSignature", "FRM-1", frame("layer", Cursor(signed.encode()[3:]).rest()[:-64]))
    for bit in (5, 9, 15, 16, 40):
        layer(f"flag bit {bit}", "FlagBits", "LAY-1", raw_layer(flags=1 << bit))
    layer("complete on a serve layer", "FlagBits", "LAY-3", raw_layer(step=4, flags=8))
    layer("complete and cut", "FlagBits", "LAY-3", raw_layer(step=10, flags=0x18))
    layer("body-unread on layer 1", "FlagBits", "LAY-2", raw_layer(flags=4))
    layer("step origin on layer 1", "Origin", "LAY-4", raw_layer(step=0))
    layer("layer 0 is an admit layer", "Origin", "LAY-4", raw_layer(step=1), place=0)
    layer("the origin with a status", "Origin", "LAY-4", replace(origin(), status=200).encode(), place=0)
    for name in ("message-id", "audience", "target", "not-after"):
        layer(f"an origin without {name}", "Origin", "LAY-8", origin(drop=[name]).encode(), place=0)
    layer("status 1000", "Range", "LAY-5", raw_layer(status=1000))
    layer("step 65536", "Range", "LAY-10", raw_layer(step=65536))
    layer("step 2^62 - 1", "Range", "LAY-10", raw_layer(step=2 ** 62 - 1))
    layer("129 public fields", "Range", "LIM-2", raw_layer(public=[literal(b"p")] * 129))
    layer("100 public and 29 private fields", "Range", "LIM-2", raw_layer(public=[literal(b"p")] * 100, private=[b"\0" + salt("s") + literal(b"q")] * 29))
    layer("one of CMTP's own fields in both lists", "Origin", "FLD-5?", raw_layer(public=[numbered("etag")], private=[b"\0" + salt("s") + numbered("target", "0xS:a")]))
    layer("a private field of form 2", "Form", "FRM-6", raw_layer(private=[b"\2" + some("leaf")]))
    layer("a withheld private field", "OnlyStored", "FRM-6", raw_layer(private=[b"\1" + some("leaf")]))
    layer("a withheld body", "OnlyStored", "FRM-9", step("serve", 200, b"x").withhold_body().encode())
    layer("body-unread in a LAYER", "OnlyStored", "LAY-2", replace(origin(), flags=4).encode(), place=0)
    layer("a layer as CORE", "OnlyStored", "FRM-5", signed.withhold(1, prev).encode())
    layer("a LAYER, its END has not come", "Truncated", "incomplete", step("serve", 200, b"hello").encode()[:-17])
    layer("a LAYER that is cut", "Truncated", "incomplete", signed.encode()[:-1])
    f.group("layer", stream="stored")
    whole = step("serve", 200, b"hello", fields=[("etag", "1")], hidden=[("x-a", "1"), ("x-b", "2")]).sign(seed("service"), 1, prev)
    layer("nothing withheld", "Redacted", data=whole.encode())
    layer("the first private field withheld: the same hash", "Redacted", data=whole.withhold_field(0).encode())
    layer("all private fields withheld", "Redacted", data=whole.withhold_field(0).withhold_field(1).encode())
    layer("the body withheld", "Redacted", data=whole.withhold_body().encode())
    layer("the layer withheld", "Redacted", data=whole.withhold(1, prev).encode())
    layer("an unsigned layer withheld", "Redacted", data=step("serve", 200).withhold(1, prev).encode())
    layer("the origin withheld", "Redacted", data=origin(signed=True).withhold(0, ZERO).encode(), place=0)
    unread = replace(origin(body=b"unread"), flags=4, body=None, body_salt=None)
    layer("an origin whose body was not read", "Redacted", data=unread.encode(), place=0)
    layer("body-unread and body", "FlagBits", "LAY-2", replace(origin(body=b"x"), flags=6).encode(), place=0)
    layer("body-unread and signed", "FlagBits", "LAY-2", replace(origin(), flags=5, signature=bytes(64)).encode(), place=0)
    layer("the withheld leaf is another", "BadSignature", "LAY-9", replace(whole, private=[Private(withheld=some("leaf")), whole.private[1]]).encode())
    layer("the withheld body hash is another", "BadSignature", "LAY-9", replace(whole, body=None, body_salt=None, body_withheld=some("B")).encode())
    core = step("serve", 200).core(1, prev)
    for comment, bad in (("number 2", core[:8] + u(2, 32) + core[12:]), ("another prev", core[:120] + some("another")), ("version 1", u(1, 16) + core[2:]),
                         ("an unknown flag", core[:4] + u(0x20, 16) + core[6:]), ("status 1000", core[:6] + u(1000, 16) + core[8:]),
                         ("complete on a serve layer", core[:4] + u(8, 16) + core[6:]),
                         ("step origin on layer 1", core[:2] + u(0, 16) + core[4:]), ("body-unread on layer 1", core[:4] + u(4, 16) + core[6:]),
                         ("B without a body", core[:88] + some("B") + core[120:]), ("a time of 2^62", core[:16] + u(2 ** 62, 64) + core[24:])):
        layer(f"CORE: {comment}", "CoreDisagrees", "FRM-11", frame("core", bad))
    first = origin().core(0, ZERO)
    for comment, bad in (("layer 0 with a prev", first[:120] + some("another")), ("layer 0 with a status", first[:6] + u(200, 16) + first[8:]), ("layer 0 is an admit layer", first[:2] + u(1, 16) + first[4:])):
        layer(f"CORE: {comment}", "CoreDisagrees", "FRM-11", frame("core", bad), place=0)
    layer("CORE: the largest step, status and time", "Redacted", data=frame("core", core[:2] + u(65535, 16) + core[4:6] + u(999, 16) + core[8:16] + u(NEVER, 64) + core[24:]))
    layer("CORE: with the flag body, B is taken as it is", "Redacted", data=frame("core", core[:4] + u(BODY, 16) + core[6:88] + some("B") + core[120:]))
    layer("CORE: counts and R are taken as they are", "Redacted", data=frame("core", core[:12] + u(60000, 16) * 2 + core[16:56] + some("R") + core[88:]))
    layer("CORE: a signature by another key", "BadSignature", "LAY-9", replace(whole.withhold(1, prev), signature=sign(seed("other"), "layer", whole.hash(1, prev))).encode())
    return f


def make_signature() -> File:
    f = File("signature",
             Good=("BASIC", "a signature of each use", "SIG-4"),
             Use=("CONFUSION", "a signature for one use is taken for another", "SIG-4"),
             Changed=("FORGERY", "key, payload or signature changed", "SIG-4"),
             LargeS=("MALLEABILITY", "S is not below the order: a second signature for the same message", "SIG-1"),
             SmallOrder=("FORGERY", "a key of small order, for which a signature fits many messages", "SIG-3"),
             NonCanonicalKey=("SECOND_ENCODING", "a key with a second encoding", "SIG-2"),
             NonCanonicalR=("MALLEABILITY", "an R with a second encoding", "SIG-4"),
             Cofactor=("DISAGREEMENT", "verifiers with and without the cofactor differ", "SIG-4"),
             SmallOrderR=("DISAGREEMENT", "an R of small order is not refused for that; some libraries do so", "SIG-4"),
             NotAPoint=("CRASH", "bytes that are no point", "SIG-2"),
             Sign=("BASIC", "signing is deterministic", "SIG-4"))
    f.group("verify")
    payload, key = H(b"payload"), public_key(seed("signer"))
    good = sign(seed("signer"), "layer", payload)

    def case(comment, flag, expect="valid", key=key, use="layer", payload=payload, signature=good, assumes=None):
        f.case(comment, flag, expect, assumes, key=key, use=use, payload=payload, signature=signature)
    for use in ("layer", "auth", "keys", "r0", "bus"):
        case(f"use {use}", "Good", use=use, signature=sign(seed("signer"), use, payload))
    case("an empty payload", "Good", use="keys", payload=b"", signature=sign(seed("signer"), "keys", b""))
    case("made for use r0", "Use", "SIG-4", signature=sign(seed("signer"), "r0", payload))
    case("use and payload shifted", "Use", "SIG-4", use="lay", payload=b"er" + payload)
    case("no prefix: plain Ed25519 over the payload", "Use", "SIG-4", signature=plain_sign(seed("signer"), payload))
    case("another key", "Changed", "SIG-4", key=OTHER)
    case("one bit of the payload", "Changed", "SIG-4", payload=flip(payload, 0))
    case("one byte more", "Changed", "SIG-4", payload=payload + b"\0")
    case("one bit of R", "Changed", "SIG-4", signature=flip(good, 0))
    case("the sign bit of R", "Changed", "SIG-4", signature=flip(good, 31, 0x80))
    case("one bit of S", "Changed", "SIG-4", signature=flip(good, 32))
    case("S = 0", "Changed", "SIG-4", signature=good[:32] + ZERO)
    case("all zero", "Changed", "SIG-4", signature=bytes(64))
    S = int.from_bytes(good[32:], "little")
    for comment, large in (("S + L", S + ORDER), ("S + 8 L", S + 8 * ORDER), ("S = L", ORDER), ("S = 2^256 - 1", 2 ** 256 - 1)):
        case(comment, "LargeS", "SIG-1", signature=good[:32] + large.to_bytes(32, "little"))
    case("S = L - 1 is below L", "Changed", "SIG-4", signature=good[:32] + (ORDER - 1).to_bytes(32, "little"))
    r = 12345
    R = encode_point(multiply(r, BASE))
    for text in SMALL_ORDER:
        A = bytes.fromhex(text)
        for i in itertools.count():                       # k = 0 modulo 8: the equation holds
            message = b"%d" % i
            if ed25519._sha512(R, A, signed_bytes("layer", message)) % ORDER % 8 == 0:
                break
        case(f"small order {text[:8]}…{text[-2:]}; the equation holds", "SmallOrder", "SIG-3", A, payload=message, signature=R + r.to_bytes(32, "little"))
    for text in ("01" + "00" * 30 + "80", "ec" + "ff" * 31):
        case("x is 0 and the sign bit is set", "NonCanonicalKey", "SIG-2", bytes.fromhex(text), signature=R + r.to_bytes(32, "little"))
    for y in (P, P + 1, P + 3, 2 ** 255 - 1):
        for sign_bit in (0, 1):
            case(f"y = p + {y - P}, sign bit {sign_bit}", "NonCanonicalKey", "SIG-2", (y | sign_bit << 255).to_bytes(32, "little"), signature=R + r.to_bytes(32, "little"))
    for y in (2, 2 | 1 << 255):
        case(f"y = 2 is not on the curve{', sign bit set' if y >> 255 else ''}", "NotAPoint", "SIG-2", y.to_bytes(32, "little"))
    a, prefix = ed25519._expand(seed("signer"))

    def special(A: bytes, R: bytes, wanted) -> tuple[bytes, bytes]:
        """A message with `wanted(k)`, and the signature S = r + k a."""
        for i in itertools.count():
            message = b"%d" % i
            k = ed25519._sha512(R, A, signed_bytes("layer", message)) % ORDER
            if wanted(k):
                return message, R + ((r + k * a) % ORDER).to_bytes(32, "little")
    torsion = decode_point(bytes.fromhex(SMALL_ORDER[6]))
    mixed = encode_point(add(multiply(a, BASE), torsion))
    message, signature = special(mixed, R, lambda k: k % 8 == 0)
    case("A has a part of small order, the equation holds", "Cofactor", key=mixed, payload=message, signature=signature)
    message, signature = special(mixed, R, lambda k: k % 8)
    case("A has a part of small order, only the equation times 8 holds", "Cofactor", "SIG-4", mixed, payload=message, signature=signature)
    shifted = encode_point(add(multiply(r, BASE), torsion))
    message, signature = special(key, shifted, lambda k: True)
    case("R has a part of small order, only the equation times 8 holds", "Cofactor", "SIG-4", payload=message, signature=signature)
    r, neutral = 0, encode_point(NEUTRAL)
    message, signature = special(key, neutral, lambda k: True)
    case("R is the neutral element, the equation holds", "SmallOrderR", payload=message, signature=signature)
    message, signature = special(mixed, bytes.fromhex(SMALL_ORDER[6]), lambda k: k % 8 == 7)
    case("R has order 8, the equation holds", "SmallOrderR", key=mixed, payload=message, signature=signature)
    for comment, R in (("R = neutral element with the sign bit", bytes.fromhex("01" + "00" * 30 + "80")), ("R = neutral element with y = p + 1", (P + 1).to_bytes(32, "little"))):
        message, signature = special(key, R, lambda k: True)
        case(comment, "NonCanonicalR", "SIG-4", payload=message, signature=signature)
    f.group("sign")
    for label, use, data in (("one", "layer", payload), ("one", "auth", some("auth", 96)), ("two", "r0", b""), ("three", "keys", some("long", 300))):
        f.case(f"seed {label}, use {use}", "Sign", seed=seed(label), use=use, payload=data)
    return f


SMALL_ORDER = """0100000000000000000000000000000000000000000000000000000000000000 ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f
0000000000000000000000000000000000000000000000000000000000000000 0000000000000000000000000000000000000000000000000000000000000080
26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05 26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85
c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa""".split()


def plain_sign(secret: bytes, message: bytes) -> bytes:
    scalar, prefix = ed25519._expand(secret)
    r = ed25519._sha512(prefix, message) % ORDER
    R = encode_point(multiply(r, BASE))
    k = ed25519._sha512(R, public_key(secret), message)
    return R + ((r + k * scalar) % ORDER).to_bytes(32, "little")


def make_chain() -> File:
    f = File("chain",
             Chain=("BASIC", "each layer hash covers the one before", "HSH-3 HSH-4"),
             Redacted=("REDACTION", "a layer as its core, a withheld field: the same hashes", "HSH-1 HSH-2 HSH-3 STO-8"),
             Reorder=("REORDER", "layers in another order, left out, or twice", "FRM-11 LAY-9 LAY-4"),
             Changed=("FORGERY", "a layer before a signature or a core was changed", "LAY-9 FRM-11"))
    layers = stack(origin(args='["Dexter"]', signed=True), admit(), step("dispatch"), step("serve", 200, b"hello"), signed={3: "service"})
    hashes = chain(layers)
    f.group("chain")

    def case(comment, flag, layers, expect="valid"):
        f.case(comment, flag, expect, layers=[layer if isinstance(layer, bytes) else layer.encode() for layer in layers])
    for count in (1, 2, 4):
        case(f"{count} layers", "Chain", layers[:count])
    case("no fields, no bodies", "Chain", [origin(), raw_layer(), raw_layer(step=4, status=200)])
    case("segments", "Chain", [origin(), admit(), step("serve", 200), step("segment", body=b"a"), step("segment", body=b"", flags=CUT)])

    def withheld(*numbers):
        return [layer.withhold(n, hashes[n - 1] if n else ZERO) if n in numbers else layer for n, layer in enumerate(layers)]
    case("the origin's args withheld", "Redacted", [layers[0].withhold_field(0), *layers[1:]])
    case("a body withheld", "Redacted", [*layers[:3], layers[3].withhold_body()])
    case("layer 1 as its core", "Redacted", withheld(1))
    case("the origin as its core", "Redacted", withheld(0))
    case("all as cores", "Redacted", withheld(0, 1, 2, 3))
    case("layers 1 and 2 turned round, before a signed one", "Reorder", [layers[0], layers[2], layers[1], layers[3]], "LAY-9")
    case("layer 1 left out", "Reorder", [layers[0], *layers[2:]], "LAY-9")
    case("layer 1 twice", "Reorder", [*layers[:2], *layers[1:]], "LAY-9")
    case("the origin twice", "Reorder", [layers[0], layers[0]], "LAY-4")
    case("no origin", "Reorder", layers[1:], "LAY-4")
    case("cores turned round", "Reorder", [withheld(2)[0], withheld(2)[2]], "FRM-11")
    case("the origin's flag signed taken away", "Changed", [replace(layers[0], flags=0, signature=None), *layers[1:]], "LAY-9")
    case("layer 1 changed before a core", "Changed", [layers[0], replace(layers[1], time=T0), *withheld(2)[2:]], "FRM-11")
    core = withheld(2)[2].redacted
    for comment, bad in (("B without a body", core[:88] + some("B") + core[120:]), ("a time of 2^62", core[:16] + u(2 ** 62, 64) + core[24:])):
        case(f"a core: {comment}", "Changed", [*layers[:2], frame("core", bad), layers[3]], "FRM-11")
    case("a signed layer's time changed", "Changed", [*layers[:3], replace(layers[3], time=T0)], "LAY-9")
    case("a signed layer's body changed", "Changed", [*layers[:3], replace(layers[3], body=b"hellp")], "LAY-9")
    return f


def stack(*layers: Layer, signed: dict[int, str] | None = None) -> list[Layer]:
    """The layers of a message, those in `signed` (number: label of the key) signed."""
    done: list[Layer] = []
    for place, layer in enumerate(layers):
        if place in (signed or {}):
            layer = layer.sign(seed(signed[place]), place, chain(done)[-1] if done else ZERO)
        done.append(layer)
    return done


def make_seal() -> File:
    f = File("seal",
             Seal=("BASIC", "a seal over key, number of layers and the last layer hash", "HSH-5"),
             Differs=("BROKEN_CHAIN", "the seal hash is for another key, number, last hash, or kind of seal", "HSH-5"),
             Order=("SECOND_ENCODING", "items in another order, or twice", "FRM-12"),
             Unknown=("EXTENSION", "unknown items: odd ones are skipped, even ones are errors", "FRM-13 STO-2"),
             Demanded=("MISSING_PROOF", "a SEAL has exactly one of r0 and unlogged, INTERIM has r0 alone", "FRM-14"),
             Empty=("SECOND_ENCODING", "an item that is empty has bytes", "FRM-15"),
             OnlyStored=("CONFUSION", "heads and keys stand in files only", "FRM-16 FRM-15"),
             BodyUnread=("AMBIGUITY", "body-unread is said by layer 0 and by SEAL, or by neither", "FRM-17"),
             Limit=("DENIAL_OF_SERVICE", "too many items, a key list that is too long", "LIM-2"),
             EntryType=("CONFUSION", "the receipt of an interim seal is taken for that of a whole message, or the reverse", "RCP-14"),
             Missing=("MISSING_BYTES", "an item that is cut", "FRM-1"))
    layers = [origin(), admit(403)]
    last = chain(layers)[-1]
    base = seal_of(layers)
    r0, unlogged, body_unread, heads, keys = (ITEM[name] for name in ("r0", "unlogged", "body-unread", "heads", "keys"))
    receipt_item = base.items[r0]

    def case(comment, flag, expect="valid", items=None, payload=None, last=last, layers=2, unread=False, assumes=None):
        """`items`: those beside r0, as a list in order, or a dictionary."""
        if payload is None:
            pairs = sorted({r0: receipt_item, **(items or {})}.items()) if not isinstance(items, list) else items
            payload = NODE + base.hash + b"".join(varint(type) + varint(len(item)) + item for type, item in pairs)
        f.case(comment, flag, expect, assumes, layers=layers, last=last, bodyUnread=unread, input=payload)
    hashes = b"".join(chain(layers))
    f.group("seal", frame="seal", stream="request")
    case("r0", "Seal")
    case("recorded", "Seal", items={4: b""})
    case("unlogged", "Seal Demanded", items=[(unlogged, b"")])
    case("proof", "Seal", items={3: b"c2sp.org/tlog-proof@v1\n"})
    case("proof of checkpoint-frame-max bytes", "Seal", items={3: b"c2sp.org/tlog-proof@v1\n".ljust(20480, b"x")})
    case("proof that is too long", "Demanded", "LIM-2", items={3: b"c2sp.org/tlog-proof@v1\n".ljust(20481, b"x")})
    case("proof without its header", "Demanded", "FRM-15", items={3: b"c2sp.org/tlog-proof@v2\n"})
    case("proof that is a header's beginning", "Demanded", "FRM-15", items={3: b"c2sp.org/tlog-proof@v1"})
    case("proof that is no text", "Demanded", "FRM-15", items={3: b"c2sp.org/tlog-proof@v1\n\xff"})
    case("another last layer hash", "Differs", "HSH-5", last=some("last"))
    case("another number of layers", "Differs", "HSH-5", layers=3)
    case("another key", "Differs", "HSH-5", payload=OTHER + base.encode_payload()[32:])
    case("an interim seal's hash", "Differs", "HSH-5", payload=NODE + seal_hash("interim", NODE, 2, last) + base.encode_payload()[64:])
    case("no item", "Demanded", "FRM-14", items=[])
    case("r0 and unlogged", "Demanded", "FRM-14", items={unlogged: b""})
    case("items out of order", "Order", "FRM-12", items=[(4, b""), (r0, receipt_item)])
    case("an item twice", "Order", "FRM-12", items=[(r0, receipt_item), (4, b""), (4, b"")])
    case("unknown, odd", "Unknown", items={99: b"later"})
    case("unknown, odd, twice", "Order", "FRM-12", items=[(r0, receipt_item), (99, b""), (99, b"")])
    case("unknown, even", "Unknown", "FRM-13", items={10: b""})
    case("recorded has a byte", "Empty", "FRM-15", items={4: b"\0"})
    case("unlogged has a byte", "Empty", "FRM-15", items=[(unlogged, b"\0")])
    case("heads on a request stream", "OnlyStored", "FRM-16", items={heads: hashes})
    case("keys on a request stream", "OnlyStored", "FRM-16", items={keys: key_list().encode()})
    case("body-unread, and the body went unread", "BodyUnread", items={body_unread: b""}, unread=True)
    case("body-unread, and it did not", "BodyUnread", "FRM-17", items={body_unread: b""})
    case("16 items", "Limit", items={2 * i + 101: b"" for i in range(15)})
    case("17 items", "Limit", "LIM-2", items={2 * i + 101: b"" for i in range(16)})
    case("an item that is cut", "Missing", "FRM-1", payload=base.encode_payload()[:-1])
    case("r0 has a byte more", "Missing", "FRM-1", items=[(r0, receipt_item + b"\0")])
    case("an entry type that is not known", "EntryType", items=[(r0, receipt(403, 2, base.hash, type=200).encode())])
    case("entry type segment", "EntryType", "RCP-14", items=[(r0, receipt(403, 2, base.hash, type=5).encode())])
    case("mode async without the entry flag", "EntryType", "RCP-14", items=[(r0, receipt(403, 2, base.hash, mode=1, flags=0).encode())])
    f.group("seal", frame="seal", stream="stored")
    case("heads and keys", "OnlyStored", items={heads: hashes, keys: key_list().encode()})
    case("heads of one layer for two", "OnlyStored", "FRM-15", items={heads: hashes[:32]})
    case("heads with half a hash", "OnlyStored", "FRM-15", items={heads: hashes + bytes(16)})
    case("unknown, odd, in a file", "Unknown", "STO-2", items={99: b"later"})
    case("body-unread is missing", "BodyUnread", "FRM-17", unread=True)
    case("a key list too long", "Limit", "LIM-2", items={keys: bytes(LIMIT["keys-frame-max"] + 1)})
    f.group("seal", frame="interim", stream="request")
    base = seal_of(layers, "interim")
    receipt_item = base.items[r0]
    case("r0", "Seal")
    case("unknown, odd", "Unknown", items={99: b"later"})
    case("no item", "Demanded", "FRM-14", items=[])
    case("unlogged", "Demanded", "FRM-14", items=[(unlogged, b"")])
    case("recorded", "Demanded", "FRM-14", items={4: b""})
    case("heads", "Demanded", "FRM-14", items={heads: hashes})
    for type in (3, 1, 200):
        case(f"entry type {type}", "EntryType", "RCP-14", items=[(r0, receipt(403, 2, base.hash, type=type).encode())])
    case("a final seal's hash", "Differs", "HSH-5", payload=NODE + seal_hash("seal", NODE, 2, last) + base.encode_payload()[64:])
    return f


def make_key_list() -> File:
    f = File("key-list",
             Valid=("BASIC", "a list by the root key", "RCP-2"),
             Order=("SECOND_ENCODING", "keys in another order, or twice", "RCP-1"),
             Untrusted=("FORGERY", "a list by another root, or with a wrong signature", "RCP-2"),
             Replay=("REPLAY", "an older list than one that was seen", "RCP-2"),
             Window=("EXPIRED_KEY", "a key is valid while not-before <= t < not-after", "RCP-8"),
             Use=("CONFUSION", "a key of another use, or of one that is not known, is no layer key", "RCP-1 RCP-8"),
             Shape=("MISSING_BYTES", "counts and lengths that do not agree, or are not allowed", "FRM-1 LIM-2 CNV-2 RCP-12"))
    f.group("key-list")

    def case(comment, flag, expect="valid", keys=None, data=None, trusted=ROOT, seen=0, at=T0):
        f.case(comment, flag, expect, input=data if data is not None else keys.encode(), trusted=trusted, seen=seen, at=at)

    def signed(*keys, root="root", number=7):
        return KeyList(public_key(seed(root)), number, [ListedKey(*key) for key in keys]).sign(seed(root))
    first, second = sorted((NODE, OTHER))
    case("five keys", "Valid Window", keys=key_list())
    case("no root is trusted yet", "Valid", keys=key_list(), trusted=None)
    case("one key, the root for every use that it has", "Valid", keys=signed((3, ROOT, 0, NEVER)))
    case("number 2^64 - 1", "Valid", keys=key_list(number=2 ** 64 - 1))
    case("the number that was seen", "Replay", keys=key_list(), seen=7)
    case("a lower number than one seen", "Replay", "RCP-2", keys=key_list(), seen=8)
    case("another root", "Untrusted", "RCP-2", keys=key_list(root="other"))
    case("another root's signature", "Untrusted", "RCP-2", keys=replace(key_list(root="other"), root=ROOT))
    case("a key exchanged", "Untrusted", "RCP-2", data=flip(key_list().encode(), 50))
    case("a root of small order", "Untrusted", "RCP-2", keys=replace(key_list(), root=ZERO), trusted=None)
    case("an unknown use is kept", "Use", keys=signed((3, NODE, 0, NEVER), (200, OTHER, 0, NEVER)))
    case("use 0 is unknown", "Use", keys=signed((0, OTHER, 0, NEVER), (3, NODE, 0, NEVER)))
    case("one key for two uses", "Use", keys=signed((1, NODE, 0, NEVER), (3, NODE, 0, NEVER)))
    case("one key in two windows", "Window", keys=signed((3, NODE, 0, T0), (3, NODE, T0, NEVER)))
    case("at not-before", "Window", keys=signed((3, NODE, T0, T0 + 1)))
    case("at not-after", "Window", keys=signed((3, NODE, T0, T0 + 1)), at=T0 + 1)
    case("before not-before", "Window", keys=signed((3, NODE, T0, T0 + 1)), at=T0 - 1)
    case("the same three twice", "Order", "RCP-1", keys=signed((3, NODE, 0, 1), (3, NODE, 0, NEVER)))
    case("uses descend", "Order", "RCP-1", keys=signed((3, NODE, 0, NEVER), (1, NODE, 0, NEVER)))
    case("keys descend", "Order", "RCP-1", keys=signed((3, second, 0, NEVER), (3, first, 0, NEVER)))
    # NKY-2 NKY-3: a layer key that was replaced ends, and its successor is valid before that.
    replaced = sorted(((3, NODE, 0, T0 + 1), (3, OTHER, T0 - 1, NEVER)))
    case("a replaced key while it overlaps with its successor", "Window", keys=signed(*replaced, number=8), seen=7)
    case("a replaced key after its end", "Window", keys=signed(*replaced, number=8), seen=7, at=T0 + 1)

    def many(count):
        return signed(*sorted((3, some(f"key {i}"), 0, NEVER) for i in range(count)))
    case("keys-max keys", "Shape", keys=many(LIMIT["keys-max"]))
    case("one key more", "Shape", "RCP-12", keys=many(LIMIT["keys-max"] + 1))
    case("no key", "Shape", "RCP-12", keys=signed())
    case("a byte left over", "Shape", "FRM-1", data=key_list().encode() + b"\0")
    case("cut", "Shape", "FRM-1", data=key_list().encode()[:-1])
    case("not-after is 2^62", "Shape", "CNV-2", keys=signed((3, NODE, 0, 2 ** 62)))
    return f


def make_receipt() -> File:
    f = File("receipt",
             Valid=("BASIC", "an R0 of each mode", "RCP-3 RCP-4 RCP-5"),
             Path=("MERKLE", "an entry in a commit of several, left, right and unbalanced", "RCP-4"),
             BadPath=("MERKLE", "a path that leads from another entry, or by another way", "RCP-4"),
             OtherMessage=("FORGERY", "an R0 of another message", "RCP-4"),
             BadSignature=("FORGERY", "the statement is not signed by the SEAL's key", "RCP-5"),
             Mode=("AMBIGUITY", "a mode that promises no index has one, or the reverse", "RCP-3"),
             Async=("AMBIGUITY", "mode async and the entry flag async stand together, or neither does", "RCP-14"),
             Withheld=("REDACTION", "the origin is withheld: opcode and message id are R0's", "RCP-4 STO-8"),
             Types=("BASIC", "each type and flag of an entry, and those that are not known", "RCP-4"),
             Entry=("BASIC", "what a log holds", "RCP-4"),
             BadEntry=("AMBIGUITY", "what is no entry of version 0", "CNV-2 FRM-1"),
             Commit=("MERKLE", "what a node signs over a commit of many entries, and each entry's way to it", "RCP-3 RCP-4 RCP-5 RCP-14"),
             Shape=("MISSING_BYTES", "lengths, counts and letters that are not allowed", "FRM-1 RCP-6 RCP-13 CNV-2"))
    F = some("F")
    f.group("receipt")

    def case(comment, flag, expect="valid", r0=None, data=None, key=NODE, opcode=0x20, status=200, layers=4, id=ID, seal=F):
        f.case(comment, flag, expect, input=data if data is not None else (r0 or receipt(200, 4, F)).encode(), key=key, opcode=opcode, messageId=id,
               status=status, layers=layers, seal=seal)
    case("mode wal", "Valid")
    case("mode async", "Valid Async", r0=receipt(200, 4, F, mode=1))
    case("mode none", "Valid", r0=receipt(200, 4, F, mode=0))
    case("first index 0", "Valid", r0=receipt(200, 4, F, first=0))
    case("a log origin of 255 bytes", "Valid", r0=receipt(200, 4, F, origin="~" * 255))
    case("a write's outcome", "Valid", r0=receipt(200, 4, F, opcode=0x21, type=2), opcode=0x21)
    for count in range(2, 6):
        for offset in range(count):
            case(f"entry {offset} of {count}", "Path", r0=receipt(200, 4, F, count=count, offset=offset))
    good = receipt(200, 4, F, count=5, offset=2)
    case("another offset", "BadPath", "RCP-4", r0=replace(good, offset=3))
    case("an offset that is the count", "BadPath Shape", "RCP-13", r0=replace(good, offset=5))
    case("an offset of 2^32 - 1", "BadPath Shape", "RCP-13", r0=replace(good, offset=2 ** 32 - 1))
    case("offset 1 in a commit of one", "BadPath Shape", "RCP-13", r0=replace(receipt(200, 4, F), offset=1))
    case("a path one shorter", "BadPath", "RCP-4", r0=replace(good, path=good.path[:-1]))
    case("a path one longer", "BadPath", "RCP-4", r0=replace(good, path=good.path + [ZERO]))
    case("a path turned round", "BadPath", "RCP-4", r0=replace(good, path=good.path[::-1]))
    case("a commit of one with a path", "BadPath", "RCP-4", r0=replace(receipt(200, 4, F), path=[ZERO]))
    case("another root", "BadPath", "RCP-4", r0=replace(receipt(200, 4, F), root=some("root")).sign(seed("node")))
    for name, value in (("status", 500), ("layers", 5), ("seal", some("G")), ("opcode", 0x30), ("id", flip(ID, 15))):
        case(f"another {name}", "OtherMessage", "RCP-4", **{name: value})
    case("R0 says another opcode", "OtherMessage", "RCP-4", r0=receipt(200, 4, F, opcode=0x30))
    case("R0 says another message id", "OtherMessage", "RCP-4", r0=receipt(200, 4, F, message_id=flip(ID, 15)))
    case("the entry type changed", "OtherMessage", "RCP-4", r0=replace(receipt(200, 4, F), type=2))
    case("the entry flags changed", "OtherMessage", "RCP-4", r0=replace(receipt(200, 4, F), flags=2))
    case("origin withheld", "Withheld", opcode=None, id=None)
    case("origin withheld, R0 says another opcode than its leaf", "Withheld", "RCP-4", r0=replace(receipt(200, 4, F), opcode=0x21), opcode=None, id=None)
    case("another key", "BadSignature", "RCP-5", key=OTHER)
    case("the time changed", "BadSignature", "RCP-5", r0=replace(receipt(200, 4, F), time=T0))
    case("the log origin changed", "BadSignature", "RCP-5", r0=replace(receipt(200, 4, F), log_origin="example.com/cmtp"))
    case("the first index changed", "BadSignature", "RCP-5", r0=replace(receipt(200, 4, F), first_index=1001))
    case("signed for another use", "BadSignature", "RCP-5", r0=replace(good, signature=sign(seed("node"), "keys", good.statement())))
    case("mode none with an index", "Mode", "RCP-3", r0=receipt(200, 4, F, mode=0, first=5))
    case("mode async with an index", "Mode", "RCP-3", r0=receipt(200, 4, F, mode=1, first=5))
    case("mode wal without an index", "Mode", "RCP-3", r0=receipt(200, 4, F, first=NO_INDEX))
    case("mode wal, index 2^64 - 2", "Mode", r0=receipt(200, 4, F, first=NO_INDEX - 1))
    for mode in (3, 255):
        case(f"mode {mode}, which is not known, without an index", "Mode", r0=receipt(200, 4, F, mode=mode))
        case(f"mode {mode}, which is not known, with an index", "Mode", "RCP-3", r0=receipt(200, 4, F, mode=mode, first=5))
    case("mode async, entry flags async and cut", "Async", r0=receipt(200, 4, F, mode=1, flags=9))
    case("mode async without the entry flag", "Async", "RCP-14", r0=receipt(200, 4, F, mode=1, flags=0))
    for mode in (0, 2, 3):
        case(f"mode {mode} with the entry flag async", "Async", "RCP-14", r0=receipt(200, 4, F, mode=mode, flags=1))
    case("a byte left over", "Shape", "FRM-1", data=good.encode() + b"\0")
    case("cut", "Shape", "FRM-1", data=good.encode()[:-1])
    case("a path of 33", "Shape", "RCP-6", r0=replace(good, path=[ZERO] * 33))
    case("no log origin", "Shape", "RCP-13", r0=receipt(200, 4, F, origin=""))
    for letter, name in (("+", "a plus"), (" ", "a space"), ("\x7f", "0x7f"), ("\n", "a line feed"), ("\0", "NUL")):
        case(f"{name} in the log origin", "Shape", "RCP-13", r0=receipt(200, 4, F, origin=f"a{letter}b"))
    case("a count of 0", "Shape", "RCP-13", r0=replace(receipt(200, 4, F), count=0).sign(seed("node")))
    case("a time of 2^62", "Shape", "CNV-2", r0=receipt(200, 4, F, time=2 ** 62))

    for count, offset in ((64, 0), (64, 63), (65, 63), (65, 64), (70, 63), (70, 64), (70, 69), (1000, 512), (1000, 999)):
        case(f"entry {offset} of {count}", "Path", r0=receipt(200, 4, F, count=count, offset=offset, first=2 ** 32))
    case("the last entry of a log that is full", "Path", r0=receipt(200, 4, F, count=3, offset=2, first=NO_INDEX - 3))
    case("mode async, in a commit of 70", "Path Async", r0=receipt(200, 4, F, mode=1, count=70, offset=66))
    unknown, none, cut = ENTRY_FLAG["outcome-unknown"], ENTRY_FLAG["no-effect"], ENTRY_FLAG["cut"]
    for type, flags, opcode, status in (("outcome", 0, 0x21, 201), ("outcome", unknown, 0x21, 504), ("outcome", none, 0x21, 503), ("exchange", 0, 0x30, 200), ("exchange", cut, 0x30, 200),
                                        ("exchange", cut, 0x30, 503), ("refusal", 0, 0x21, 403), ("refusal", none, 0x21, 404), ("segment", 0, 0x30, 200)):
        names = "".join(f", {name}" for name, bit in ENTRY_FLAG.items() if flags & bit)
        case(f"{type} with status {status}{names}", "Types", r0=receipt(status, 5, F, opcode=opcode, type=ENTRY_TYPE[type], flags=flags, count=6, offset=4), opcode=opcode, status=status, layers=5)
        case(f"{type} with status {status}{names}, async", "Types Async", r0=receipt(status, 5, F, opcode=opcode, type=ENTRY_TYPE[type], flags=flags | ENTRY_FLAG["async"], mode=1), opcode=opcode, status=status, layers=5)
    case("an entry type that is not known", "Types", r0=receipt(200, 4, F, type=200))
    case("an entry flag that is not known", "Types", r0=receipt(200, 4, F, flags=0x8000))
    case("no-effect changed to outcome-unknown", "Types OtherMessage", "RCP-4", r0=replace(receipt(503, 4, F, type=2, flags=none), flags=unknown), status=503)
    case("the flag cut taken away", "Types OtherMessage", "RCP-4", r0=replace(receipt(200, 4, F, flags=cut), flags=0))

    at, nothing = T0 + 5000, bytes(16)
    journal = [("opened", entry(ENTRY_TYPE["opened"], 0, 0, 0, 0, at, nothing, some("checkpoint"))), ("keys", entry(ENTRY_TYPE["keys"], 0, 0, 0, 0, at, nothing, H(key_list().encode()))),
               ("config", entry(ENTRY_TYPE["config"], 0, 0, 0, 0, at, nothing, some("config"))), ("policy", entry(ENTRY_TYPE["policy"], 0, 0, 0, 0, at, nothing, some("policy"))),
               ("summary", entry(ENTRY_TYPE["summary"], 0, 0, 0, 0, at, nothing, some("summary"))), ("intent: F is the head at dispatch", entry(ENTRY_TYPE["intent"], 0x21, 0, 0, 3, at, ID, some("head"))),
               ("outcome", entry(ENTRY_TYPE["outcome"], 0x21, 0, 201, 5, at, ID, some("F"))), ("outcome, outcome-unknown", entry(ENTRY_TYPE["outcome"], 0x21, unknown, 504, 4, at, ID, some("F"))),
               ("outcome, no-effect", entry(ENTRY_TYPE["outcome"], 0x21, none, 503, 4, at, ID, some("F"))), ("exchange", entry(ENTRY_TYPE["exchange"], 0x20, 0, 200, 4, at, ID, some("F"))),
               ("exchange, cut", entry(ENTRY_TYPE["exchange"], 0x30, cut, 200, 6, at, ID, some("F"))), ("refusal of a target with no opcode", entry(ENTRY_TYPE["refusal"], 0, 0, 400, 2, at, ID, some("F"))),
               ("segment", entry(ENTRY_TYPE["segment"], 0x30, 0, 200, 4, at, ID, some("interim"))), ("redacted", entry(ENTRY_TYPE["redacted"], 0x20, 0, 200, 4, at, ID, some("F"))),
               ("forgotten", entry(ENTRY_TYPE["forgotten"], 0x20, 0, 200, 4, at, ID, some("F")))]
    f.group("entry")
    for comment, data in journal:
        f.case(comment, "Entry", input=data)
    f.case("exchange, async", "Entry", input=entry(ENTRY_TYPE["exchange"], 0x20, ENTRY_FLAG["async"], 200, 4, at, ID, some("F")))
    f.case("a type and flags that are not known", "Entry", input=entry(255, 0xffff, 0xffff, 0xffff, 2 ** 32 - 1, NEVER, b"\xff" * 16, b"\xff" * 32))
    good = journal[6][1]
    f.case("version 1", "BadEntry", "invalid", input=flip(good, 0))
    f.case("a time of 2^62", "BadEntry", "CNV-2", input=flip(good, 12, 0x40))
    f.case("a byte is missing", "BadEntry", "FRM-1", input=good[:-1])
    f.case("a byte is left over", "BadEntry", "FRM-1", input=good + b"\0")
    f.case("nothing", "BadEntry", "FRM-1", input=b"")

    f.group("commit")

    def commit(comment, entries, mode=2, first=1000):
        f.case(comment, "Commit", entries=entries, seed=seed("node"), logOrigin="example.org/cmtp", firstIndex=first if mode == 2 else NO_INDEX, mode=mode, mergeDelay=0)

    def exchanges(count, flags=0):
        return [entry(ENTRY_TYPE["exchange"], 0x20, flags, 200, 4, at, u(T0 // 1000, 48) + bytes.fromhex("7abc8def0123456789") + u(n, 8), some(f"F {n}")) for n in range(count)]
    commit("a log is opened", [journal[0][1]], first=0)
    commit("each type of entry", [data for _, data in journal])
    for count in (1, 2, 3, 4, 7, 8, 9, 33):
        commit(f"{count} exchanges", exchanges(count))
    commit("5 exchanges, async", exchanges(5, ENTRY_FLAG["async"]), mode=1)
    commit("the same entry twice", exchanges(1) * 2)
    return f


def make_did() -> File:
    f = File("did",
             Valid=("BASIC", "a did:key of an Ed25519 key", "CNV-3"),
             Other=("CONFUSION", "another method, prefix or kind of key", "CNV-3"),
             Spelling=("SECOND_ENCODING", "a second text for a key, or letters that are none", "CNV-3"),
             BadKey=("FORGERY", "a key that chapter 5 refuses", "CNV-3 SIG-2 SIG-3"))
    f.group("did")

    def multibase(data: bytes) -> str:
        return did_of(data[2:]) if data[:2] == b"\xed\x01" else "did:key:z" + base58(data)
    good = did_of(ROOT)
    f.case("the root key of the vectors", "Valid", did=good)
    f.case("the example of chapter 6", "Valid", did="did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")
    f.case("RFC 8032, test 1", "Valid", did=did_of(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")))
    for comment, flag, did in (("another method", "Other", good.replace("key", "web")), ("upper case", "Other", good.replace("did", "DID")), ("multibase f: hexadecimal", "Other", "did:key:fed01" + ROOT.hex()),
                               ("no multibase prefix", "Other", good.replace(":z", ":")), ("X25519: ec 01", "Other", multibase(b"\xec\x01" + ROOT)), ("31 bytes", "Other", multibase(b"\xed\x01" + ROOT[:-1])),
                               ("33 bytes", "Other", multibase(b"\xed\x01" + ROOT + b"\1")), ("no key", "Other", "did:key:z"), ("nothing", "Other", ""), ("the multibase name alone", "Other", good.removeprefix("did:key:")),
                               ("a leading 1", "Spelling", good.replace(":z", ":z1")), ("a fragment", "Spelling", f"{good}#{good[8:]}"), ("the letter 0", "Spelling", good[:-1] + "0"),
                               ("a space at the end", "Spelling", good + " "), ("a line feed at the end", "Spelling", good + "\n")):
        f.case(comment, flag, "CNV-3", did=did)
    f.case("a key of small order", "BadKey", "CNV-3", did=did_of(bytes.fromhex(SMALL_ORDER[4])))
    f.case("a key that is not canonical", "BadKey", "CNV-3", did=did_of((P + 3).to_bytes(32, "little")))
    f.case("a key that is no point", "BadKey", "CNV-3", did=did_of((2).to_bytes(32, "little")))
    return f


def base58(data: bytes) -> str:
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = ed25519._BASE58[digit] + text
    return text


def make_stored() -> File:
    f = File("stored",
             Whole=("BASIC", "a message of each shape", "STO-1 STO-3 HSH-5 RCP-4 RCP-8"),
             Redacted=("REDACTION", "parts withheld: the same hashes, the same verdict", "STO-7 STO-8 HSH-1 HSH-2 HSH-3 HSH-5 FRM-11 RCP-4"),
             Refused=("BASIC", "refusals, logged and not", "FRM-17 LAY-2 RCP-7 RCP-10 PRC-1 PRC-2 PRC-3"),
             Handshake=("MISSING_PROOF", "unlogged is for the handshake, and for no write of it that was done", "RCP-7 RCP-10 SES-3"),
             Streamed=("BASIC", "segments and interim seals", "HSH-5 PRC-5 RCP-5"),
             Process=("FALSE_AUDIT", "a message that is authentic and breaks its process", "PRC-1 PRC-3 PRC-5 PRC-6 PRC-7 PRC-8 PRC-10"),
             Pin=("FORGERY", "the seal, or an interim seal, is not by a key of the root that the verifier trusts", "RCP-7 RCP-8 RCP-9 RCP-11"),
             Changed=("FORGERY", "one thing changed, nothing hashed again", "HSH-5 STO-7 LAY-9 RCP-4 RCP-5 RCP-11"),
             Rehashed=("FORGERY", "changed and hashed again by somebody without the node's key", "RCP-4 RCP-5 RCP-8 RCP-9"),
             Heads=("DIAGNOSIS", "heads name the first layer that differs", "STO-7"),
             Place=("DIAGNOSIS", "without heads the fault is at the first signature or core that does not fit, else at the interim seal, else at the seal", "STO-7 FRM-11 LAY-9 HSH-5"),
             Entry=("CONFUSION", "the receipt's entry is for another kind of seal, or another mode", "RCP-14 RCP-3"),
             Limit=("DENIAL_OF_SERVICE", "more layers than a message may have; segments count for themselves", "LAY-7"),
             Proof=("BASIC", "R1 and R2, and how far the promise was kept", "LOG-1 LOG-9 LOG-11 LOG-14 LOG-16 LOG-18"),
             OtherProof=("FORGERY", "a proof that is not of this entry, or not the node's", "LOG-1 LOG-9 LOG-11 LOG-15 LOG-16"),
             Shape=("SECOND_ENCODING", "a file that is cut, goes on, or holds what a file does not hold", "STO-1 STO-2 STO-3 STO-6 STO-10 FRM-3 FRM-5 FRM-7 CNV-1"))
    f.group("stored")

    def case(comment, flag, what, expect="valid", pin=ROOT, assumes=None, **more):
        f.case(comment, flag, expect, assumes, input=what if isinstance(what, bytes) else what.encode(), pin=pin, **more)
    read = stack(origin(args='["Dexter"]'), admit(), step("dispatch", time=2000, fields=[("subject", "cmtp.s.0x001.hello_world"), ("bus-auth", b"\3")]),
                 step("serve", 200, b"hello Dexter", time=3000, fields=[("content-type", "text/plain")], hidden=[("x-secret", "s")]))
    base = message(read, heads=True)
    case("a read", "Whole", base)
    case("a read, nobody is trusted", "Whole", base, pin=None)
    case("without heads", "Whole", message(read))
    case("without keys, nobody is trusted", "Whole", message(read, keys=None), pin=None)
    case("three layers, no body", "Whole", message(stack(origin(), admit(), step("serve", 204))))
    write = stack(origin("0xSW:0x001:greeting", body=b"hi", signed=True), admit(), step("serve", 200, b"", time=2000), step("commit", time=3000))
    case("a write, signed, with bodies, one of them empty", "Whole", message(write, opcode=0x21, type=2, heads=True))
    signed = stack(origin(signed=True), admit(), step("dispatch", time=2000), step("serve", 200, b"x", actor=SERVICE), signed={3: "service"})
    case("a layer signed by the service", "Whole", message(signed))
    case("a body of two BODY frames", "Whole", message(stack(origin(), admit(), step("serve", 200, some("body", 16385)))))
    case("mode none", "Whole", message(read, mode=0))
    case("in a commit of three", "Whole", message(read, count=3, offset=1))
    many = stack(origin(), *[admit()] * 63)
    case("64 layers", "Limit Process", message(many))
    case("65 layers", "Limit", message([*many, admit()]), "LAY-7")
    case("64 layers and two segments", "Limit Process", message([*many, step("segment", body=b""), step("segment", body=b"", flags=CUT)]))
    case("recorded", "Whole", message(read, items={ITEM["recorded"]: b""}))
    proof, r0 = proof_for(read)
    case("with a proof", "Proof", proved(read, proof, r0))
    case("with a proof and heads", "Proof", proved(read, proof, r0, heads=True))
    case("with a proof, redacted", "Proof", replace(proved(read, proof, r0), layers=[read[0].withhold(0, ZERO), *read[1:]]))
    case("with a proof, without keys, nobody is trusted", "Proof", proved(read, proof, r0, keys=None), pin=None)
    case("with a proof, without keys: the policy knows the log", "Proof", proved(read, proof, r0, keys=None), pin=None, policy=f"log {LOG.encode()}\nquorum none\n")
    case("with a proof, without keys: the policy knows another log", "Proof", proved(read, proof, r0, keys=None), pin=None, policy=f"log {VerifierKey(origin_of(OTHER, 0), 1, OTHER).encode()}\nquorum none\n")
    case("with a proof, mode async", "Proof", proved(read, *proof_for(read, mode=1)))
    case("with a proof, of the only leaf", "Proof", proved(read, *proof_for(read, index=0, size=1)))
    case("with a proof, of the second log", "Proof", proved(read, *proof_for(read, number=1)))
    two = "".join(f"witness {name} {key.encode()}\n" for name, key in WITNESSES.items()) + "group g 2 w1 w2 w3\nquorum g\n"
    seen, r0 = proof_for(read, witnesses=["w1", "w3"])
    case("cosigned, without a policy", "Proof", proved(read, seen, r0))
    case("cosigned by two, two of three are asked for", "Proof", proved(read, seen, r0), policy=two)
    case("cosigned by two, and the policy names the log", "Proof", proved(read, seen, r0), policy=f"log {LOG.encode()}\n" + two)
    case("cosigned by two, and the policy names another log", "Proof", proved(read, seen, r0), policy=f"log {VerifierKey(origin_of(OTHER, 0), 1, OTHER).encode()}\n" + two)
    case("cosigned by two, no witness is asked for", "Proof", proved(read, seen, r0), policy="quorum none\n")
    case("cosigned by one, two of three are asked for", "Proof", proved(read, *proof_for(read, witnesses=["w2"])), policy=two)
    forged = replace(proof, checkpoint=Checkpoint.parse(proof.checkpoint.note() + WITNESSES["w1"].sign(seed("w1"), "x", 1)))
    case("a cosignature over another text, without a policy", "Proof", proved(read, forged, r0))
    case("a cosignature over another text", "OtherProof", proved(read, forged, r0), "LOG-15", policy=two)
    case("a proof of another index than R0's", "OtherProof", proved(read, proof, r0 | {"first": 4}), "LOG-11")
    case("a proof of another log than R0's", "OtherProof", proved(read, proof, r0 | {"origin": origin_of(ROOT, 1)}), "LOG-11")
    case("a proof of a log that followed R0's", "OtherProof", proved(read, proof_for(read, number=1)[0], r0), "LOG-11")
    case("a proof of another node's log", "OtherProof", proved(read, proof_for(read, origin=origin_of(OTHER, 0))[0], r0 | {"origin": origin_of(OTHER, 0)}), "LOG-11?")
    case("a proof of a log whose origin is spelled otherwise", "OtherProof", proved(read, proof_for(read, origin=ORIGIN + "0")[0], r0 | {"origin": ORIGIN + "0"}), "LOG-11?")
    case("a checkpoint by another key", "OtherProof", proved(read, proof_for(read, log="other")[0], r0), "LOG-11")
    case("a checkpoint by the node's layer key", "OtherProof", proved(read, proof_for(read, log="node")[0], r0), "LOG-11")
    case("the checkpoint's size changed", "OtherProof", proved(read, proof.encode().replace("\n7\n", "\n8\n"), r0), "LOG-15")
    case("the proof of another message", "OtherProof", proved(read, proof_for(read[:2])[0], r0), "LOG-16")
    case("a hash of the path is missing", "OtherProof", proved(read, replace(proof, path=proof.path[1:]), r0), "LOG-16")
    case("a wrong path, without keys", "OtherProof", proved(read, replace(proof, path=proof.path[1:]), r0, keys=None), "LOG-16", pin=None)
    case("a proof that is its header alone", "OtherProof", message(read, items={ITEM["proof"]: b"c2sp.org/tlog-proof@v1\n"}), "LOG-9")
    case("a proof with an extra line", "OtherProof", proved(read, proof.encode().replace("\nindex", "\nextra AAAA\nindex", 1), r0), "LOG-9")
    refused = stack(origin(), admit(511))
    case("a proof without R0", "OtherProof", message(refused, unlogged=True, items={ITEM["proof"]: proof.encode().encode()}), "LOG-11")
    streamed = stack(origin(), admit(), step("serve", 200), step("segment", body=b"one"), step("segment", body=b"two"), step("segment", body=b"", flags=COMPLETE))
    case("segments, two interim seals", "Streamed", message(streamed, interims=[4, 5], heads=True))
    case("segments, cut", "Streamed", message(streamed[:4] + [step("segment", body=b"t", flags=CUT)], interims=[4]))
    case("segments, the last is not marked", "Streamed Process", message(streamed[:5]))
    broken = message(streamed, interims=[4])
    broken.interims[0][1].hash = some("interim")
    case("an interim seal with another hash", "Streamed", broken, "HSH-5")
    broken = message(streamed, interims=[4])
    broken.interims[0] = (5, broken.interims[0][1])
    case("an interim seal one layer later", "Streamed", broken, "HSH-5")
    broken = message(streamed, interims=[4])
    r0 = broken.interims[0][1].receipt
    broken.interims[0] = (4, replace_items(broken.interims[0][1], r0=replace(r0, time=T0).encode()))
    case("an interim seal's R0 with another time", "Streamed", broken, "RCP-5")
    broken = message(streamed, interims=[4])
    broken.interims[0] = (4, replace_items(broken.interims[0][1], hash=some("interim")))
    broken.seal = replace_items(broken.seal, hash=some("seal"))
    case("the interim seal and the seal with another hash", "Place", broken, "HSH-5")
    case("an interim seal whose entry type is exchange", "Entry", message(streamed, interims=[4], interim={"type": 3}), "RCP-14")
    case("a seal whose entry type is segment", "Entry", message(streamed, type=5), "RCP-14")
    live = stack(origin("0xE:ticks"), admit(), step("dispatch", time=2000), step("serve", 200, time=3000), *[step("segment", body=text, time=4000 + 1000 * n, label=str(n)) for n, text in enumerate((b"one", b"two", b"three"))])
    finish = {name: step("segment", time=8000, flags=FLAG[name]) for name in ("complete", "cut")}
    broke = step("segment", 503, time=8000, flags=CUT, fields=[("remedy", "wait")])

    def feed(last, flags=0, interim=None, **r0):
        """A streamed answer as a node journals it: each segment sealed as it came, in commits of many, and an end without bytes."""
        made = message([*live, last], opcode=0x30, flags=flags, **{"count": 70, "offset": 69, "first": 1400} | r0)
        for n in range(3):
            made.interims.append((5 + n, seal_of(live[:5 + n], "interim", **{"opcode": 0x30, "count": 9, "offset": n, "first": 1000 + 100 * n} | (interim or {}))))
        return made
    case("a stream in a journal, complete", "Streamed", feed(finish["complete"]))
    case("a stream in a journal, cut", "Streamed", feed(finish["cut"], flags=ENTRY_FLAG["cut"]))
    case("a stream in a journal, broken off by the service", "Streamed", feed(broke, flags=ENTRY_FLAG["cut"]))
    case("a stream in mode async, cut", "Streamed Entry", feed(finish["cut"], flags=ENTRY_FLAG["cut"] | ENTRY_FLAG["async"], mode=1, first=NO_INDEX, interim={"mode": 1, "first": NO_INDEX}))
    case("a stream whose first segments stand in a commit of their own in mode wal, and the end in mode async", "Streamed Entry", feed(finish["complete"], flags=ENTRY_FLAG["async"], mode=1, first=NO_INDEX))
    case("a stream in a journal, whose end is neither complete nor cut", "Streamed Process", feed(step("segment", time=8000)))
    case("a stream in a journal, an end without bytes in between", "Streamed Process", message([*live[:5], finish["cut"], *live[5:], finish["complete"]], opcode=0x30))
    broken = feed(finish["complete"])
    broken.interims[1] = (6, broken.interims[0][1])
    case("the first interim seal in place of the second", "Streamed", broken, "HSH-5")
    broken = feed(finish["complete"])
    other = seal_of(live[:7], "interim", opcode=0x30).receipt
    broken.interims[1] = (6, replace_items(broken.interims[1][1], r0=other.encode()))
    case("an interim seal with R0 of the next", "Streamed", broken, "RCP-4")
    case("a write in a commit of 70", "Whole", message(write, opcode=0x21, type=2, count=70, offset=66))
    case("a write in mode async", "Entry", message(write, opcode=0x21, type=2, mode=1, count=5, offset=4))
    case("a recorded write", "Whole", message(write, opcode=0x21, type=2, count=3, offset=2, items={ITEM["recorded"]: b""}))
    case("mode async", "Entry", message(streamed, interims=[4], interim={"mode": 1}, mode=1))
    case("mode async without the entry flag", "Entry", message(streamed, mode=1, flags=0), "RCP-14")
    case("mode wal with the entry flag async", "Entry", message(streamed, flags=1), "RCP-14")
    case("an interim seal in mode wal with the entry flag async", "Entry", message(streamed, interims=[4], interim={"flags": 1}), "RCP-14")
    case("a mode that is not known, without an index", "Entry", message(streamed, mode=9))
    case("a mode that is not known, with an index", "Entry", message(streamed, mode=9, first=5), "RCP-3")

    def withhold(message: Message, *numbers: int) -> Message:
        hashes = chain(message.layers)
        return replace(message, layers=[layer.withhold(n, hashes[n - 1] if n else ZERO) if n in numbers else layer for n, layer in enumerate(message.layers)])

    def change(message: Message, place: int, layer: Layer) -> Message:
        return replace(message, layers=[layer if n == place else one for n, one in enumerate(message.layers)])
    case("the args withheld", "Redacted", change(base, 0, read[0].withhold_field(0)))
    case("the answer's body withheld", "Redacted", change(base, 3, read[3].withhold_body()))
    case("a private field and the body withheld", "Redacted", change(base, 3, read[3].withhold_body().withhold_field(0)))
    case("a layer withheld", "Redacted", withhold(base, 2))
    case("the origin withheld: opcode and id are R0's", "Redacted", withhold(base, 0))
    case("everything withheld", "Redacted", withhold(base, 0, 1, 2, 3))
    case("signed layers withheld", "Redacted", withhold(message(signed), 0, 3))
    case("a segment withheld", "Redacted", withhold(message(streamed, interims=[4]), 3))
    case("the origin of a refusal without R0 withheld", "Redacted", withhold(message([origin(), admit(511)], unlogged=True), 0))
    wrong = withhold(base, 2)
    case("a core with another status", "Redacted", change(wrong, 2, replace(wrong.layers[2], redacted=flip(wrong.layers[2].redacted, 7))), "STO-7?")
    case("the same without heads", "Redacted", change(withhold(message(read), 2), 2, replace(wrong.layers[2], redacted=flip(wrong.layers[2].redacted, 7))), "HSH-5")
    for comment, at, bit in (("another number", 11, 1), ("an unknown flag", 5, 0x20), ("B without a body", 88, 1)):
        case(f"a core with {comment}, without heads", "Place Redacted", change(withhold(message(read), 2), 2, replace(wrong.layers[2], redacted=flip(wrong.layers[2].redacted, at, bit))), "FRM-11")
    late = withhold(message(read), 3).layers[3]
    case("a core with a time above 2^62, without heads", "Place Redacted", change(message(read), 3, replace(late, redacted=flip(late.redacted, 16, 0x40), time=late.time | 1 << 62)), "FRM-11")
    case("a layer changed before a core, without heads", "Place Redacted", change(withhold(message(read), 2), 1, replace(read[1], time=T0)), "FRM-11")
    case("a layer changed before a core", "Heads Redacted", change(withhold(base, 2), 1, replace(read[1], time=T0)), "STO-7")
    case("a layer changed before a signed one, without heads", "Place", change(message(signed), 1, replace(signed[1], time=T0)), "LAY-9")
    case("a layer changed before an interim seal, without heads", "Place", change(message(streamed, interims=[5]), 3, replace(streamed[3], body=b"onf")), "HSH-5")
    case("a layer changed before the second interim seal, without heads", "Place", change(message(streamed, interims=[4, 5]), 4, replace(streamed[4], body=b"twp")), "HSH-5")
    case("a layer changed after the interim seal, without heads", "Place", change(message(streamed, interims=[4]), 5, replace(streamed[5], body=b"x")), "HSH-5")
    case("a layer changed before an interim seal", "Heads", change(message(streamed, interims=[5], heads=True), 3, replace(streamed[3], body=b"onf")), "STO-7")

    case("403, logged", "Refused", message([origin(), admit(403)], type=4))
    case("511, unlogged", "Refused", message([origin(), admit(511)], unlogged=True))
    case("511, unlogged, without keys", "Refused", message([origin(), admit(511)], unlogged=True, keys=None))
    case("200, unlogged", "Refused", message(read, unlogged=True), "RCP-10")
    case("403, unlogged", "Refused", message([origin(), admit(403)], unlogged=True), "RCP-10")
    unread = replace(origin(body=b"x"), flags=BODY_UNREAD, body=None, body_salt=None)
    case("413, the body was not read", "Refused", message([unread, admit(413)], type=4))
    case("511, the body was not read, unlogged", "Refused", message([unread, admit(511)], unlogged=True))
    case("an unsigned write, refused", "Refused", message([origin("0xSW:a"), admit(400)], opcode=0x21, type=4))
    case("a target that begins with no opcode, refused", "Refused", message([origin("0xZ:a"), admit(400)], opcode=0, type=4))
    case("a target that begins with no opcode, executed", "Process", message([origin("0xZ:a"), admit(), step("serve", 200)], opcode=0))
    case("a target that begins with an opcode and is no FQMN, refused", "Refused", message([origin("0xS::a"), admit(400)], type=4))
    case("the service is not there", "Refused", message([*read[:3], step("serve", 503, time=3000, fields=[("remedy", "wait")])]))

    case("an unsigned write that was executed", "Process", message([origin("0xSW:a"), *write[1:]], opcode=0x21))
    case("a write without an admit layer", "Process", message([write[0], *write[2:]], opcode=0x21))
    case("a read with a commit", "Process", message([*read, step("commit", time=4000)]))
    case("the node's times go back", "Process", message([origin(), admit(), step("serve", 200, time=500)]))
    case("the node's times stand still", "Process", message([origin(), admit(), step("serve", 200, time=1000)]))
    case("the service's time lies before the node's", "Process", message([origin(), admit(), step("dispatch", time=2000), step("serve", 200, actor=SERVICE, time=500)]))
    case("a layer after a refusal", "Process", message([origin(), admit(403), step("serve", 200, time=2000)]))
    resolved = [origin("0xR:hello.mcom"), admit(), step("resolve", fields=[("resolved", "0xS:0x001:hello")]), step("serve", 200, b"x")]
    case("a resolved name", "Process", message(resolved, opcode=0x60))
    case("a read resolved to a write", "Process", message([*resolved[:2], step("resolve", fields=[("resolved", "0xSW:0x001:hello")]), resolved[3]], opcode=0x60))
    case("a name that is not there", "Process", message([*resolved[:2], step("resolve", 404)], opcode=0x60))

    given = [write[0], admit(), step("dispatch", time=2000, fields=[("subject", "cmtp.s.greeting"), ("bus-auth", b"\3")])]

    def ended(status, *fields, upto=given, steps=(), **r0):
        """A write that stopped in a serve layer with these fields."""
        last = step("serve", status, time=3000, fields=[("remedy", "look-before-retry"), *((name, b"") for name in fields)])
        return message([*upto, *steps, last], **{"opcode": 0x21, "type": 2} | r0)
    case("a write, no reply in time: outcome-unknown", "Process", ended(504, "outcome-unknown", flags=2))
    case("a write, nobody responded: no-effect", "Process", ended(503, "no-effect", flags=4))
    case("a write, no reply in time, and nothing said of its effect", "Process", ended(504))
    case("a write, no reply in time, and both said of its effect", "Process", ended(504, "outcome-unknown", "no-effect"))
    case("a write, no reply in time, and the layer withheld that had to say what came of it", "Process Redacted", withhold(ended(504), 3))
    case("a write that was given to nobody: no-effect", "Process", message([*given[:2], step("dispatch", 404, time=2000, fields=[("remedy", "fix-request"), ("no-effect", b"")])], opcode=0x21, type=4))
    case("a write that was given to nobody, and nothing said of its effect", "Process", message([*given[:2], step("dispatch", 404, time=2000, fields=[("remedy", "fix-request")])], opcode=0x21, type=4))
    case("a write refused in the node's process", "Process", ended(412, upto=given[:2], type=4))
    case("a write cut off by a crash in the node's process: outcome-unknown", "Process", ended(500, "outcome-unknown", upto=given[:2], flags=2))
    case("a committed write with outcome-unknown", "Process", message([*write[:3], step("commit", time=3000, fields=[("outcome-unknown", b"")])], opcode=0x21, type=2))
    case("a write refused by admit with no-effect", "Process", message([write[0], replace(admit(403), public=admit(403).public + public(("no-effect", b"")))], opcode=0x21, type=4))
    case("a read, no reply in time, with outcome-unknown", "Process", message([*read[:3], step("serve", 504, time=3000, fields=[("outcome-unknown", b"")])]))

    case("another root is trusted", "Pin", base, pin=OTHER)
    foreign = origin(audience=OTHER)
    case("made for another node", "Pin", message([foreign, *read[1:]]))
    case("made for another node, and refused for that", "Pin", message([foreign, admit(421)], type=4))
    case("made for another node, forwarded", "Pin", message([origin("0xP:z6Mk:0xS:a", audience=OTHER, signed=True), admit(), step("forward"), admit(403), step("check", 403)], opcode=0x70))
    case("R0 and no key list", "Pin", message(read, keys=None))
    case("a list of another root", "Pin", message(read, keys=key_list(root="other")))
    case("a list whose signature is wrong, nobody is trusted", "Pin", message(read, keys=replace(key_list(), number=8)), "RCP-11", pin=None)
    case("a list whose signature is wrong", "Pin", message(read, keys=replace(key_list(), number=8)), "RCP-11")
    case("sealed by a key that is not listed", "Pin", message(read, key="other"))
    case("sealed by a key of another use", "Pin", message(read, key="tls"))
    case("sealed by a key that had expired", "Pin", message(read, key="old node"))
    case("sealed by a key while it was valid", "Pin", message(read, key="old node", time=T0 - 2))
    case("an interim seal by a layer key that has expired since", "Pin Streamed", message(streamed, interims=[4], interim={"key": "old node", "time": T0 - 2}))
    case("an interim seal by a key that had expired", "Pin Streamed", message(streamed, interims=[4], interim={"key": "old node"}))
    case("an interim seal by a key that is not listed", "Pin Streamed", message(streamed, interims=[4], interim={"key": "other"}))
    case("an interim seal by a key of another use", "Pin Streamed", message(streamed, interims=[4, 5], interim={"key": "tls"}))
    case("unlogged, sealed by a key that is not listed", "Pin", message([origin(), admit(511)], key="other", unlogged=True))

    plain = message(read)
    changes = {"the origin's target": (0, replace(read[0], public=public(("message-id", ID), ("audience", ROOT), ("target", "0xS:0x001:hello_worle"), ("not-after", u(T0 + 60_000_000, 64))))),
               "a private value": (0, replace(read[0], private=private(("args", '["Dextes"]')))), "a salt": (1, replace(read[1], public_salt=salt("x"))), "a time": (2, replace(read[2], time=T0 + 2001)),
               "an actor": (2, replace(read[2], actor=OTHER)), "a step": (2, replace(read[2], step=2)), "a status": (3, replace(read[3], status=201)), "a body": (3, replace(read[3], body=b"hello Dextes")),
               "a body's salt": (3, replace(read[3], body_salt=salt("x"))), "a field's name": (3, replace(read[3], public=public(("content-encoding", "text/plain")))),
               "a body taken away": (3, replace(read[3], flags=0, body=None, body_salt=None))}
    for comment, (place, layer) in changes.items():
        case(f"{comment} changed", "Heads Changed", change(base, place, layer), "STO-7")
        case(f"{comment} changed, without heads", "Changed", change(plain, place, layer), "HSH-5")
    case("two layers changed: the first is named", "Heads Changed", change(change(base, 1, replace(read[1], time=T0)), 3, replace(read[3], status=201)), "STO-7")
    case("layers turned round", "Heads Changed", replace(base, layers=[read[0], read[2], read[1], read[3]]), "STO-7")
    case("a layer left out, without heads", "Changed", replace(plain, layers=[read[0], *read[2:]]), "HSH-5")
    case("an origin's signature changed", "Changed", change(message(write, opcode=0x21), 0, replace(write[0], signature=flip(write[0].signature, 63))), "LAY-9")
    case("a service's signature changed", "Changed", change(message(signed), 3, replace(signed[3], signature=flip(signed[3].signature, 0))), "LAY-9")
    heads = base.seal.items[ITEM["heads"]]
    case("heads changed alone", "Heads", replace(base, seal=replace_items(base.seal, heads=flip(heads, 64))), "STO-7")
    case("F changed", "Changed", replace(base, seal=replace_items(base.seal, hash=flip(base.seal.hash, 0))), "HSH-5")
    case("the SEAL's key changed", "Changed", replace(base, seal=replace_items(base.seal, key=OTHER)), "HSH-5")
    r0 = base.seal.receipt
    case("R0's signature changed", "Changed", replace(base, seal=replace_items(base.seal, r0=replace(r0, signature=flip(r0.signature, 0)).encode())), "RCP-5")
    case("R0's time changed", "Changed", replace(base, seal=replace_items(base.seal, r0=replace(r0, time=T0).encode())), "RCP-5")
    case("R0's entry type changed", "Changed", replace(base, seal=replace_items(base.seal, r0=replace(r0, type=4).encode())), "RCP-4")
    case("R0's message id changed", "Changed", replace(base, seal=replace_items(base.seal, r0=replace(r0, message_id=flip(ID, 0)).encode())), "RCP-4")
    case("R0 of another message", "Changed", replace(base, seal=replace_items(base.seal, r0=seal_of(read[:2]).items[0])), "RCP-4")
    case("a byte of the key list changed", "Changed", replace(base, seal=replace_items(base.seal, keys=flip(base.seal.items[ITEM["keys"]], 33))), "RCP-11")

    forged = [*read[:3], replace(read[3], body=b"hello Mallory")]
    new = seal_of(forged, heads=True, keys=key_list())
    case("hashed again, R0 as it was", "Rehashed", Message(forged, [], replace_items(new, r0=r0.encode())), "RCP-4")
    case("hashed again, R0 with a new root, not signed anew", "Rehashed", Message(forged, [], replace_items(new, r0=replace(new.receipt, signature=r0.signature).encode())), "RCP-5")
    case("hashed again and signed by somebody's own key, the node's list kept", "Rehashed", message(forged, key="other", heads=True))
    mine = KeyList(OTHER, 7, [ListedKey(3, OTHER, 0, NEVER)]).sign(seed("other"))
    case("hashed again, signed, with somebody's own list", "Rehashed", message(forged, key="other", heads=True, keys=mine))
    case("the same, by who trusts that root: made for another node", "Rehashed", message(forged, key="other", heads=True, keys=mine), pin=OTHER)

    data = base.encode()
    case("cut by one byte", "Shape", data[:-1], "STO-1")
    case("without SEAL", "Shape", data[:-len(base.seal.encode())], "STO-1")
    case("a byte after SEAL", "Shape", data + b"\0", "FRM-3?")
    case("a layer after SEAL", "Shape", data + raw_layer(), "STO-1")
    case("two SEALs", "Shape", data + base.seal.encode(), "STO-1")
    case("no layer", "Shape", MAGIC + b"\0" + base.seal.encode(), "FRM-7")
    case("INTERIM before the origin", "Shape", MAGIC + b"\0" + message(streamed, interims=[4]).interims[0][1].encode() + data[9:], "FRM-7")
    case("nothing", "Shape", b"", "STO-10")
    case("half of the magic", "Shape", MAGIC[:4], "STO-10")
    case("no magic", "Shape", data[8:], "STO-10")
    case("magic alone", "Shape", MAGIC, "STO-1")
    case("another magic", "Shape", flip(data, 0), "STO-10")
    case("another magic: line ends converted", "Shape", data.replace(b"\r\n", b"\n", 1), "STO-10")
    case("version 1", "Shape", MAGIC + b"\1" + data[9:], "STO-6")
    case("the version in two bytes", "Shape", MAGIC + b"\x40\0" + data[9:], "CNV-1")
    first = len(MAGIC) + 1
    case("an unknown frame of odd type", "Shape", data[:first] + Frame(0x21, b"").encode() + data[first:], "STO-2")
    case("an unknown frame of even type", "Shape", data[:first] + Frame(0x20, b"").encode() + data[first:], "FRM-3?")
    case("AUTH", "Shape", data[:first] + frame("auth", b"\0" + H(TOKEN)) + data[first:], "FRM-5?")
    case("KEYS", "Shape", data[:first] + frame("keys", key_list().encode()) + data[first:], "FRM-5?")
    case("a body cut in two", "Shape", data.replace(frame("body", b"hello Dexter"), frame("body", b"hello") + frame("body", b" Dexter")), "STO-3")
    for comment, layers, expect in unlogged_exchanges():
        case(f"unlogged: {comment}", "Handshake", message(layers, unlogged=True), expect)
    hello = [origin("0xI:session:hello", body=b"{}", signed=True), admit(), step("serve", 200, b"{}", time=2000)]
    case("unlogged: a hello whose origin is withheld", "Handshake", withhold(message(hello, unlogged=True), 0))
    case("unlogged: a hello whose body is withheld", "Handshake", replace(message(hello, unlogged=True), layers=[hello[0].withhold_body(), *hello[1:]]))
    case("unlogged: a consent that was refused, its origin withheld", "Handshake", withhold(message([origin("0xIW:session:consent", body=b"{}", signed=True), admit(429)], unlogged=True), 0))
    case("unlogged: a consent that was refused with 401, its origin withheld", "Handshake", withhold(message([origin("0xIW:session:consent", body=b"{}", signed=True), admit(401)], unlogged=True), 0))
    case("unlogged: a hello whose refusing layer is withheld", "Handshake", withhold(message([hello[0], admit(400)], unlogged=True), 1))
    case("unlogged: a consent whose refusing layer is withheld", "Handshake", withhold(message([origin("0xIW:session:consent", body=b"{}", signed=True), admit(429)], unlogged=True), 1))
    return f


def replace_items(seal: Seal, key: bytes | None = None, hash: bytes | None = None, **items: bytes) -> Seal:
    return decode_seal(seal.name, key or seal.key, hash or seal.hash, seal.items | {ITEM[name]: item for name, item in items.items()}, 0)


def make_fqmn() -> File:
    f = File("fqmn",
             Valid=("BASIC", "a target in its normal form", "FQN-1 FQN-2 FQN-3 FQN-4"),
             Encoding=("SECOND_ENCODING", "a segment with a second spelling, or a reserved byte", "FQN-1"),
             Segment=("SECOND_ENCODING", "an empty segment, or one that is not UTF-8", "FQN-2"),
             Opcode=("CONFUSION", "what looks like an opcode or an address and is none", "FQN-3"),
             Grammar=("CONFUSION", "an opcode without its segment, a resource that is none", "FQN-2 FQN-4"),
             Limit=("DENIAL_OF_SERVICE", "too deep, too many elements, too long", "FQN-5 FQN-7"),
             Cycle=("LOOP", "the same segment after two opcodes of one family", "FQN-6"),
             Json=("DISAGREEMENT", "arguments that JSON parsers differ about", "FQN-7"),
             Target=("PRIVACY", "arguments, or sugar, in the field target", "FQN-1 FQN-2 FQN-8 FQN-9"),
             Sugar=("BASIC", "what people type; the bytes of the arguments that words become", "FQN-1 FQN-2 FQN-3 FQN-9"))

    def case(text, flag, expect="valid", comment=None, assumes=None):
        data = text if isinstance(text, bytes) else text.encode()
        shown = {} if isinstance(text, bytes) else {"text": text}
        f.case(comment or (text[:60] if isinstance(text, str) else repr(text)[2:62]), flag, expect, assumes, input=data, **shown)

    def deep(levels):
        return "[" * levels + "]" * levels
    f.group("fqmn")
    for text in ('0xS:0x001:hello_world:["Dexter"]', '0xR:helloworld.mcom:["Dexter"]', "0xRW:register:helloworld.mcom:0xS:0x001", "0xE:0xR:helloworld.mcom:Transferred",
                 "0xP:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK:0xS:echo", "0xS:a", "0xIW:a", "0xAW:0xdeadbeef:call:[]", "0xCW:x:y", "0xEW:0xS:a", "0xS:a:0xSW:b",
                 "0xS:größe:日本", "0xS:!#$&'()+,-./;<=>?@\\^_`{|}~", "0xS:0X001", "0xS:0", "0xS:x0x1", "0xS:xS", "0xP:a:0xP:b:0xS:c", "0xS:a:0xE:0xR:b"):
        case(text, "Valid")
    case("0xS:a%20b%3Ac%5Bd%5D%25%2A%22%00%7F", "Encoding Valid", comment="every kind of reserved byte, encoded")
    case("0xS:%5B1%5D", "Encoding Valid", comment="a segment that begins with an encoded [ is no argument")
    for text in ("0xS:a b", "0xS:a%2fb", "0xS:a%2Fb", "0xS:%41", "0xS:a%3a", "0xS:a%", "0xS:a%2", "0xS:a%zz", '0xS:a"b', "0xS:a*", "0xS:*", "0xS:a[b", "0xS:a]b", "0xS:]", "0xS:a\0b", "0xS:a\n", "0xS:a\x7f", "0xS:%30xS"):
        case(text, "Encoding", "FQN-1")
    for text in ("0xS:", "0xS::a", "0xS:a:", "0xS:a::b"):
        case(text, "Segment", "FQN-2?" if text == "0xS:" else "FQN-2")
    for raw, comment in ((b"0xS:\xff", "0xff"), (b"0xS:\xc0\xaf", "an overlong form"), (b"0xS:\xed\xa0\x80", "a surrogate"), (b"0xS:a\xc3", "a cut character"), (b"0xS:\xf4\x90\x80\x80", "above U+10FFFF")):
        case(raw, "Segment", "FQN-2", comment)
    for text in ("0xZ:a", "0xs:a", "0xSw:a", "0xSWW:a", "0xS:0xZ", "0xS:0x", "0xS:0x0", "0xS:0x01", "0xS:0x00A", "0xS:0xSx", "0xS:0x00g", "0xS:0x%20a", "0xW:a"):
        case(text, "Opcode", "FQN-3")
    for text in ("", "a", "helloworld.mcom:hello", "0Sx:a", "S:a", ":0xS:a", "0x001:a"):
        case(text, "Grammar", "FQN-2", comment=None if text else "nothing")
    for text in ("0xS", "0xE", "0xS:[]", '0xE:["a"]'):
        case(text, "Grammar", "FQN-2?")
    for text in ("0xS:0xR:a", "0xR:a:0xS", "0xE:0xS", "0xE:0xE", "0xR:a:0xS:[]", "0xP:0xP:a", "0xS:a:0xE"):
        case(text, "Grammar", "FQN-4?")
    case("0xS:a:0xE:b:0xR:c", "Limit", comment="three opcodes")
    case("0xS:a:0xE:b:0xR:c:0xP:d", "Limit", "FQN-5", comment="four opcodes")
    case("0xS" + ":a" * 31, "Limit", comment="32 elements")
    case("0xS" + ":a" * 32, "Limit", "FQN-5", comment="33 elements")
    case("0xS:" + "a" * 1020, "Limit", comment="1024 bytes")
    case("0xS:" + "a" * 1021, "Limit", "FQN-5", comment="1025 bytes")
    case("0xS:" + "a" * 1020 + ':["x"]', "Limit", comment="1024 bytes and arguments")
    case("0xS:" + "a" * 1021 + ':["x"]', "Limit", "FQN-5", comment="1025 bytes and arguments")
    case("0xP:a:0xP:a:0xS:b", "Cycle", "FQN-6")
    case("0xS:a:0xE:a:0xS:a", "Cycle", "FQN-6")
    for text in ("0xP:a:0xPW:a:0xS:b", "0xPW:a:0xP:a:0xS:b", "0xSW:a:0xSW:a", "0xS:a:0xSW:a"):
        case(text, "Cycle", "FQN-6")
    for text in ("0xS:a:0xRW:a", "0xP:a:0xPW:b:0xS:a", "0xE:0xR:a:0xE:a"):
        case(text, "Cycle")
    case("0xS:a:b:0xS:b:a", "Cycle", comment="the same opcode with another segment")
    case('0xS:a:["x:y",[1]]', "Json", comment="colons and brackets in arguments")
    case("0xS:a:[1]:b", "Json", "FQN-7", comment="elements after arguments")
    case("0xS:a:[", "Json", "FQN-7")
    case("0xS:a:[]x", "Json", "FQN-7")
    f.group("args")
    for text in ("[]", '["Dexter"]', "[ 1 , -0.5e+10,\t[null] ]", '[{"a":1,"a":2}]', '["\\ud800"]', "[123456789012345678901234567890]", "[1E400]", "[-0]", '["\\u0000\\/\\b"]', "[{}]", '["\x7f\u2028"]', '[true,false,null]', '[{"":[]}]'):
        case(text, "Json")
    case(deep(32), "Limit Json", comment="32 levels")
    case('["' + "a" * 16380 + '"]', "Limit Json", comment="16384 bytes")
    case(deep(33), "Limit Json", "FQN-7", comment="33 levels")
    case('[{"a":' * 16 + "[]" + "}]" * 16, "Limit Json", "FQN-7", comment="33 levels, arrays and objects in turn")
    case('["' + "a" * 16381 + '"]', "Limit Json", "FQN-7", comment="16385 bytes")
    for text in ("", " []", "[] ", "[]\n", "{}", "1", '"a"', "[1,]", "[,1]", "[1 2]", "[01]", "[+1]", "[.5]", "[1.]", "[1e]", "[-]", "[0x1]", "[NaN]", "[Infinity]", "['a']", '["a]', '["\t"]', '["\\x41"]', '["\\u12g4"]', "[True]",
                 "[nul]", "[{1:2}]", '[{"a"}]', '[{"a":1,}]', "[]]", "[[]", "[1]//", "\ufeff[]", "[\u00a01]", "[\f1]", "[１]", "[tru\u0065x]", '["a" "b"]', '[{"a":1 "b":2}]'):
        case(text, "Json", "FQN-7", comment=None if text else "nothing")
    case(b'["\xff"]', "Json", "FQN-7")
    case(b'["\xed\xa0\x80"]', "Json", "FQN-7")
    f.group("target")
    case("0xS:0x001:hello_world", "Target")
    case("0xRW:register:helloworld.mcom:0xS:0x001", "Target")
    case('0xS:0x001:hello_world:["Dexter"]', "Target", "FQN-8")
    case("0xS:a:[]", "Target", "FQN-8")
    case("0Sx:a", "Target", "FQN-2")
    case("helloworld.mcom:hello", "Target", "FQN-2")
    case("0xS:a%2Db", "Target", "FQN-1")
    f.group("sugar")
    for text, words, expect in (("0Sx:0x001:hello_world", [], "valid"), ("0SWx:a", [], "valid"), ("helloworld.mcom:hello", [], "valid"), ("helloworld.mcom", ["Dexter"], "valid"), ("0xS:a", [], "valid"),
                                ("0xS:a", ["b c", "ü", 'd"e\\'], "valid"), ('0Rx:helloworld.mcom:["Dexter"]', [], "valid"), ("a:0Sx:b", [], "valid"), ("0Zx:a", [], "valid"), ("0xZ:a", [], "FQN-3"), ("a b", [], "FQN-1"),
                                ("", [], "FQN-2?"), ("0Sx", [], "FQN-2?")):
        f.case(f"{text} {' '.join(words)}".strip() or "nothing", "Sugar", expect, text=text, words=words)
    for word, comment, assumes in (("", "an empty word", None), ('"\\/', "what is escaped, and the slash, which is not", None), ("\b\t\n\f\r", "the control characters with an escape of two letters", None),
                                   ("\0\x01\x10\x17", "other control characters", None), ("\x0b\x1f", "control characters whose escape has a letter", None),
                                   ("\x7f\x80\u2028\ufeff\U0001f600", "above 0x1f nothing is escaped: 0x7f, 0x80, a line separator, a byte order mark, an emoji", None)):
        f.case(f"a word: {comment}", "Sugar", assumes=assumes, text="0xS:a", words=[word])
    return f


def make_subject() -> File:
    f = File("subject",
             Valid=("BASIC", "a target becomes a NATS subject", "FQN-10"),
             Letters=("INJECTION", "all but a-z 0-9 _ - is written as =xx: no wildcard, dot or space comes through", "FQN-10 NAT-2"),
             Decoded=("WRONG_INPUT", "segments are decoded first", "FQN-10"),
             Distinct=("COLLISION", "two targets have two subjects", "FQN-10"),
             Limit=("DENIAL_OF_SERVICE", "a subject that is too long", "FQN-11"),
             NoTarget=("PRIVACY", "arguments stand in no subject", "FQN-8"))
    f.group("subject")
    for target, flag in (("0xS:0x001:hello_world", "Valid"), ("0xE:0xR:helloworld.mcom:Transferred", "Valid Letters"), ("0xSW:a", "Valid"), ("0xP:z6MkA:0xS:echo", "Letters"), ("0xS:a-b_c", "Valid"), ("0xS:a.b", "Letters Distinct"),
                         ("0xS:a:b", "Distinct"), ("0xS:a=2eb", "Distinct"), ("0xS:%2A", "Decoded Letters"), ("0xS:>", "Letters"), ("0xS:a%20b", "Decoded"), ("0xS:a%00b", "Decoded"), ("0xS:a%25b", "Decoded"), ("0xS:grün", "Letters"),
                         ("0xS:$SYS", "Letters"), ("0xS:A", "Letters Distinct"), ("0xR:x:0xSW:y", "Letters"), ("0xS:0xabc", "Valid")):
        f.case(target, flag, target=target)
    f.case("512 bytes", "Limit", target="0xS:" + "a" * 505)
    f.case("513 bytes", "Limit", "FQN-11", target="0xS:" + "a" * 506)
    f.case("a short target whose subject is too long", "Limit", "FQN-11", target="0xS:" + "A" * 200)
    f.case("with arguments", "NoTarget", "FQN-8", target='0xS:a:["b"]')
    return f


def make_pattern() -> File:
    f = File("pattern",
             Exact=("BASIC", "a pattern without wildcards covers one target", "ADM-7"),
             One=("OVERREACH", "* is exactly one whole element", "ADM-7"),
             More=("OVERREACH", "** is one element or more, and the last", "ADM-7"),
             Form=("ESCALATION", "a pattern under read covers no write, and the reverse", "ADM-7"),
             Bytes=("OVERREACH", "elements are compared as bytes", "ADM-7"),
             Nested=("ESCALATION", "opcodes within are elements like others: a nested write form is covered by * or ** only", "ADM-7"),
             NotAPattern=("CONFUSION", "what is no pattern is refused with its token", "ADM-7 FQN-1 FQN-2 FQN-3"))
    f.group("pattern")
    for pattern, klass, target, flag in (
            ("0xS:echo", "read", "0xS:echo", "Exact"), ("0xS:echo", "read", "0xS:echo:a", "Exact"), ("0xS:echo:a", "read", "0xS:echo", "Exact"), ("0xS:echo", "read", "0xE:echo", "Exact"),
            ("0xS:0x001:*", "read", "0xS:0x001:a", "One"), ("0xS:0x001:*", "read", "0xS:0x001", "One"), ("0xS:0x001:*", "read", "0xS:0x001:a:b", "One"), ("0xS:*:b", "read", "0xS:a:b", "One"), ("0xS:*:b", "read", "0xS:a:c", "One"),
            ("0xS:*", "read", "0xR:a", "One"), ("0xS:**", "read", "0xS:a", "More"), ("0xS:**", "read", "0xS:a:b:0xR:c", "More"), ("0xS:**", "read", "0xR:a", "More"), ("0xS:a:**", "read", "0xS:a", "More"), ("0xS:a:**", "read", "0xS:a:b", "More"),
            ("0xS:a:**", "read", "0xS:ab:c", "More"), ("0xS:*:**", "read", "0xS:a", "More"), ("0xS:*:**", "read", "0xS:a:b", "More"), ("0xS:**", "read", "0xSW:a", "Form"), ("0xS:**", "write", "0xSW:a", "Form"), ("0xS:**", "write", "0xS:a", "Form"),
            ("0xS:a", "write", "0xSW:a", "Form"), ("0xS:a", "write", "0xSW:b", "Form"), ("0xS:Echo", "read", "0xS:echo", "Bytes"), ("0xS:a%20b", "read", "0xS:a%20b", "Bytes"), ("0xS:e\u0301", "read", "0xS:\u00e9", "Bytes"),
            ("0xS:*", "read", "0xS:%2A", "Bytes"), ("0xP:*:0xS:echo", "read", "0xP:z6Mk:0xS:echo", "Exact"), ("0xR:a:0xS:b", "write", "0xRW:a:0xS:b", "Form"), ("0xE:0xR:*", "read", "0xE:0xR:a", "One"),
            ("0xR:a:0xS:b", "read", "0xR:a:0xSW:b", "Form Nested"), ("0xR:a:*:b", "read", "0xR:a:0xSW:b", "Nested"), ("0xR:a:**", "read", "0xR:a:0xSW:b", "Nested"), ("0xR:a:*:b", "write", "0xRW:a:0xSW:b", "Nested"),
            ("0xE:*:a", "read", "0xE:0xR:a", "Nested"), ("0xS:a:0xE:*", "read", "0xS:a:0xE:0xR:b", "Nested One"), ("0xS:a:0xE:**", "read", "0xS:a:0xE:0xR:b", "Nested More")):
        f.case(f"{klass} {pattern}, {target}", flag, pattern=pattern, list=klass, target=target)
    for pattern, expect in (("0xS:a*", "FQN-1"), ("0xS:***", "FQN-1"), ("0xS:**:a", "invalid"), ("0xSW:a", "invalid"), ("0xR:a:0xSW:b", "invalid"), ("0xS:a:[]", "invalid"), ("*", "FQN-2"), ("**", "FQN-2"), ("0xS", "FQN-2?"), ("0xS:%41", "FQN-1"), ("", "FQN-2"),
                            ("0xZ:*", "FQN-3"), ("0Sx:*", "FQN-2"), ("0xP:a:0xP:a:**", "FQN-6?")):
        f.case(f"no pattern: {pattern}", "NotAPattern", expect, pattern=pattern, list="read", target="0xS:a")
    f.case("read 0xP:*:0xP:*:0xS:echo, 0xP:a:0xP:b:0xS:echo", "One", pattern="0xP:*:0xP:*:0xS:echo", list="read", target="0xP:a:0xP:b:0xS:echo")
    return f


def make_process() -> File:
    f = File("process",
             Whole=("BASIC", "the layers are the process", "PRC-1 PRC-4"),
             Stopped=("BASIC", "a beginning whose last layer refuses", "PRC-1 PRC-4"),
             Missing=("FALSE_AUDIT", "a step is missing, or a beginning refuses nothing", "PRC-1"),
             Extra=("FALSE_AUDIT", "a step that the process does not have, or in another place", "PRC-1"),
             Signed=("FALSE_AUDIT", "a write without the caller's signature", "PRC-1 PRC-2"),
             Segments=("FALSE_AUDIT", "the last segment, and no other, carries complete or cut", "PRC-1 PRC-5"),
             Relay=("FALSE_AUDIT", "forwarded requests, whole and stopped", "PRC-1"),
             Refused=("FALSE_AUDIT", "something follows a refusal", "PRC-10"),
             Effect=("FALSE_AUDIT", "a write that was dispatched and not committed says exactly once what came of it, and nothing else says so", "PRC-6"),
             Resolves=("OVERSTRICT", "how often a name is resolved binds the node; the process check does not count", "PRC-1 PRC-9"),
             Unknown=("FALSE_AUDIT", "an opcode or a step that is not known", "PRC-1 PRC-3"))
    f.group("process")

    def case(opcode, steps, flag, expect="valid", assumes=None):
        """`steps`: names, each with ! (signed), =status, +complete or +cut, then ? (outcome-unknown), - (no-effect) or * (withheld)."""
        layers = []
        for word in steps.split():
            effect = None if "*" in word else [name for sign, name in (("?", "outcome-unknown"), ("-", "no-effect")) if sign in word]
            word = word.translate({ord(sign): None for sign in "?-*"})
            name, _, mark = word.partition("+")
            name, _, status = name.partition("=")
            layers.append({"step": STEP.get(name.rstrip("!")) if not name.isdigit() else int(name), "status": int(status or 0), "flags": SIGNED * name.endswith("!") | (FLAG[mark] if mark else 0), "effect": effect})
        f.case(f"{opcode}: {steps}", flag, expect, assumes, opcode=OPCODE.get(opcode, 0x20 if not isinstance(opcode, int) else opcode), layers=layers)
    for opcode, steps in (("0xS", "origin admit serve=200"), ("0xS", "origin! admit dispatch serve=200"), ("0xA", "origin admit assemble=200"), ("0xR", "origin admit resolve resolve dispatch serve=200"), ("0xSW", "origin! admit serve=201 commit"),
                          ("0xSW", "origin! admit dispatch serve=200 commit"), ("0xEW", "origin! admit publish commit"), ("0xEW", "origin! admit resolve dispatch serve=200 commit"), ("0xCW", "origin! admit propose commit=200"), ("0xAW", "origin! admit assemble=200 commit"),
                          ("0xS", "origin admit serve=404"), ("0xIW", "origin! admit serve=200 commit=304")):
        case(opcode, steps, "Whole")
    for opcode, steps in (("0xS", "origin admit=403"), ("0xS", "origin admit dispatch=503"), ("0xS", "origin admit dispatch serve=504"), ("0xR", "origin admit resolve=404"), ("0xR", "origin admit resolve resolve=508"), ("0xSW", "origin! admit serve=412"),
                          ("0xSW", "origin! admit serve=200 commit=507"), ("0xCW", "origin! admit propose=503"), ("0xEW", "origin! admit publish=503")):
        case(opcode, steps, "Stopped")
    for opcode, steps in (("0xS", "origin serve=200"), ("0xS", "origin admit"), ("0xS", "origin"), ("0xS", ""), ("0xS", "admit serve=200"), ("0xS", "origin admit dispatch"), ("0xSW", "origin! admit serve=200"), ("0xSW", "origin! serve=200 commit"), ("0xCW", "origin! admit propose"),
                          ("0xS", "origin admit=399"), ("0xSW", "origin! admit commit"), ("0xS", "origin admit resolve=200"), ("0xS", "origin serve=500")):
        case(opcode, steps, "Missing", "PRC-1")
    for opcode, steps in (("0xS", "origin admit serve=200 commit"), ("0xS", "origin admit admit serve=200"), ("0xS", "origin admit serve=200 serve=200"), ("0xS", "origin admit dispatch dispatch serve=200"), ("0xSW", "origin! admit serve=200 commit commit"),
                          ("0xS", "origin admit serve=200 resolve"), ("0xS", "origin admit assemble segment+cut"), ("0xE", "origin admit publish"), ("0xCW", "origin! admit serve=200 commit"), ("0xS", "origin admit forward check=200"), ("0xS", "origin admit publish=500"),
                          ("0xSW", "origin! admit publish commit")):
        case(opcode, steps, "Extra", "PRC-1")
    case("0xSW", "origin admit serve=200 commit", "Signed", "PRC-1")
    case("0xSW", "origin admit=400", "Signed")
    case("0xSW", "origin admit serve=500", "Signed", "PRC-1")
    case("0xP", "origin admit forward=503", "Signed", "PRC-1")
    case("0xPW", "origin admit=403", "Signed")
    case("0xE", "origin admit serve=200 segment segment+complete", "Segments")
    case("0xE", "origin admit serve=200 segment+cut", "Segments")
    case("0xSW", "origin! admit serve=200 segment+complete commit", "Segments")
    case("0xE", "origin admit serve=200 segment segment", "Segments", "PRC-5")
    case("0xE", "origin admit serve=200 segment+complete segment", "Segments", "PRC-5")
    case("0xE", "origin admit serve=200 segment+complete segment+complete", "Segments", "PRC-5")
    case("0xE", "origin admit segment+complete", "Segments", "PRC-1")
    hop = "admit dispatch serve=200"
    case("0xP", f"origin! admit forward {hop} check=200", "Relay")
    case("0xPW", f"origin! admit forward {hop} commit check=200", "Relay")
    case("0xP", f"origin! admit forward admit forward {hop} check check=200", "Relay")
    case("0xP", f"origin! admit forward admit forward admit forward {hop} check check check=200", "Relay")
    case("0xP", f"origin! admit forward admit forward admit forward admit forward {hop} check check check check=200", "Relay", "PRC-1")
    case("0xP", "origin! admit forward admit=403 check=403", "Relay")
    case("0xP", "origin! admit forward admit forward admit=403 check check", "Relay")
    case("0xP", "origin! admit forward admit forward=503 check=503", "Relay")
    case("0xP", "origin! admit forward=503", "Relay")
    case("0xP", "origin! admit forward admit=403", "Relay")
    case("0xP", f"origin! admit forward {hop}", "Relay", "PRC-1")
    case("0xP", "origin! admit forward admit check=403", "Relay", "PRC-1")
    case("0xP", "origin! admit forward check=502", "Relay", "PRC-1")
    case("0xP", f"origin! admit forward admit forward {hop} check", "Relay", "PRC-1")
    case("0xP", f"origin admit forward {hop} check=200", "Relay", "PRC-1")
    case("0xP", "origin! admit serve=200", "Relay", "PRC-1")
    case(0x22, "origin admit serve=200", "Unknown", "PRC-3")
    case(0, "origin admit=400", "Unknown")
    case(0, "origin! admit=400", "Unknown")
    case(0, "origin admit", "Unknown", "PRC-3")
    case(0, "origin admit serve=404", "Unknown", "PRC-3")
    case("0xS", "origin admit=403 serve=200", "Refused", "PRC-10")
    case("0xS", "origin admit=403 serve=403", "Refused", "PRC-10")
    case("0xR", "origin admit resolve=404 serve=200", "Refused", "PRC-10")
    case("0xSW", "origin! admit serve=500 commit", "Refused", "PRC-10")
    case("0xE", "origin admit serve=500 segment+cut", "Refused", "PRC-10")
    case("0xE", "origin admit serve=200 segment segment=500+cut", "Refused")
    case("0xE", "origin admit serve=200 segment=500 segment+cut", "Refused", "PRC-10")
    case("0xP", "origin! admit forward admit=403 check=403", "Refused")
    case("0xSW", "origin admit=403 resolve=404", "Signed", "PRC-1?")
    for opcode, steps in (("0xSW", "origin! admit dispatch=404-"), ("0xSW", "origin! admit dispatch serve=503-"), ("0xIW", "origin! admit dispatch serve=412-"), ("0xEW", "origin! admit dispatch serve=504?"),
                          ("0xRW", "origin! admit resolve dispatch serve=500?"), ("0xSW", "origin! admit dispatch serve=200 commit=507?"), ("0xSW", "origin! admit dispatch serve=200 segment segment=500+cut?"),
                          ("0xSW", "origin! admit serve=412"), ("0xSW", "origin! admit serve=412-"), ("0xSW", "origin! admit serve=500?"), ("0xSW", "origin! admit serve=200 commit=507?"), ("0xAW", "origin! admit assemble=500-"),
                          ("0xEW", "origin! admit publish=503-"), ("0xCW", "origin! admit propose=504?"), ("0xSW", "origin! admit dispatch serve=504*"), ("0xSW", "origin!* admit* dispatch* serve=503-"),
                          ("0xPW", "origin! admit forward=504?"), ("0xPW", "origin! admit forward=504"), ("0xPW", "origin! admit forward admit dispatch serve=504? check=504?")):
        case(opcode, steps, "Effect")
    for opcode, steps in (("0xSW", "origin! admit dispatch=404"), ("0xSW", "origin! admit dispatch serve=504"), ("0xEW", "origin! admit dispatch serve=200 commit=507"), ("0xSW", "origin! admit dispatch serve=200 segment=500+cut"),
                          ("0xSW", "origin! admit dispatch* serve=504"), ("0xSW", "origin! admit dispatch serve=504?-"), ("0xSW", "origin! admit serve=500?-"), ("0xSW", "origin! admit dispatch? serve=504?"),
                          ("0xSW", "origin! admit dispatch- serve=504*"), ("0xSW", "origin!? admit serve=500"), ("0xSW", "origin! admit dispatch serve=200 commit-"), ("0xSW", "origin! admit dispatch serve=200? commit"),
                          ("0xSW", "origin! admit serve=200 commit?"), ("0xSW", "origin! admit=403-"), ("0xRW", "origin! admit resolve=404?"), ("0xS", "origin admit dispatch serve=504?"), ("0xS", "origin admit serve=200-"),
                          ("0xS", "origin admit dispatch- serve=200"), ("0xP", "origin! admit forward=504?"), (0, "origin admit=400-")):
        case(opcode, steps, "Effect", "PRC-6")
    case("0xR", "origin admit resolve resolve resolve resolve=508", "Resolves")
    case("0xR", "origin admit resolve resolve resolve resolve serve=200", "Resolves")
    case("0xS", "origin admit 4000 serve=200", "Unknown", "PRC-1")
    case("0xS", "origin admit 4000=500", "Unknown", "PRC-1")
    return f


def make_message() -> File:
    f = File("message",
             Request=("BASIC", "what a client sends", "QUI-9 QUI-16 FRM-10"),
             Answer=("BASIC", "what a node sends", "QUI-17 QUI-20 HSH-5"),
             Auth=("CONFUSION", "AUTH stands first, once, and in requests", "QUI-9 FRM-5"),
             OnlyOrigin=("SMUGGLING", "a client sends no other layer, and nothing after it", "QUI-15 QUI-19"),
             Cut=("MISSING_BYTES", "the stream ends before the message does", "QUI-18"),
             After=("SMUGGLING", "a frame after SEAL", "QUI-19"),
             Unknown=("EXTENSION", "unknown frames of odd type are skipped wherever they stand, also before AUTH, 16 on a stream", "FRM-2 FRM-3 FRM-4 QUI-19"),
             Withheld=("REDACTION", "what is withheld, heads and keys do not travel on a request stream", "FRM-6 FRM-9 FRM-16 FRM-5 LAY-2"),
             BodyUnread=("AMBIGUITY", "the node refused before the body came: layer 0 is closed without it", "QUI-17 FRM-17 HSH-5"),
             Order=("CONFUSION", "frames out of place", "FRM-5 FRM-7 FRM-8 LAY-4"),
             BadChain=("FORGERY", "hashes, signatures or receipts do not agree", "HSH-5 LAY-9 RCP-4 RCP-5 RCP-10 RCP-14 LOG-11 LOG-16"),
             Handshake=("MISSING_PROOF", "unlogged is for the handshake, and for no write of it that was done", "RCP-10 SES-3"))
    auth, token = frame("auth", b"\1" + some("proof", 64) + TOKEN), frame("auth", b"\0" + H(TOKEN))
    bare, full = origin(), origin(args='["Dexter"]', body=b"hello", signed=True)
    skip = Frame(0x21, b"later").encode()
    f.group("request")

    def ask(comment, flag, data, expect="valid"):
        f.case(comment, flag, expect, input=data)
    ask("an origin without body", "Request", bare.encode())
    ask("AUTH with token, then the origin", "Request Auth", auth + bare.encode())
    ask("AUTH with digest, then the origin with body, signed", "Request Auth", token + full.encode())
    end_ = frame("end", b"\0" + full.body_salt + full.signature)
    head = full.encode()[:-len(end_) - 7]
    ask("the body in five BODY frames: the same hash", "Request", head + b"".join(frame("body", bytes([byte])) for byte in b"hello") + end_)
    ask("unknown odd frames between and after", "Unknown", token + skip + head + skip + frame("body", b"hello") + end_ + skip)
    ask("16 unknown odd frames", "Unknown", bare.encode() + skip * 16)
    ask("17 unknown odd frames", "Unknown", bare.encode() + skip * 17, "FRM-4")
    ask("an unknown even frame", "Unknown", bare.encode() + Frame(0x20, b"").encode(), "FRM-3")
    ask("AUTH after the origin", "Auth", bare.encode() + auth, "QUI-19?")
    ask("an unknown odd frame, then AUTH", "Auth Unknown", skip + auth + bare.encode())
    ask("three unknown odd frames, AUTH, one more", "Auth Unknown", skip * 3 + token + skip + full.encode())
    ask("17 unknown odd frames, nine of them before AUTH", "Auth Unknown", skip * 9 + auth + skip * 8 + bare.encode(), "FRM-4")
    ask("AUTH twice", "Auth", auth + auth + bare.encode(), "QUI-9")
    ask("AUTH twice, an unknown odd frame between", "Auth Unknown", auth + skip + auth + bare.encode(), "QUI-9")
    ask("AUTH within the origin's body", "Auth", head + auth + frame("body", b"hello") + end_, "FRM-7?")
    ask("nothing", "Cut", b"", "QUI-18")
    ask("AUTH alone", "Cut", auth, "QUI-18")
    ask("an unknown odd frame alone", "Cut", skip, "QUI-18")
    ask("a LAYER with a body and nothing more", "Cut", head, "QUI-18")
    ask("END is missing", "Cut", head + frame("body", b"hello"), "QUI-18")
    ask("the last frame is cut", "Cut", full.encode()[:-1], "QUI-18")
    ask("the first frame is cut", "Cut", bare.encode()[:5], "QUI-18")
    ask("a second layer", "OnlyOrigin", bare.encode() + admit().encode(), "QUI-19?")
    ask("the origin twice", "OnlyOrigin", bare.encode() * 2, "QUI-19?")
    ask("an admit layer in place of the origin", "OnlyOrigin", admit().encode(), "LAY-4?")
    ask("a SEAL after the origin", "OnlyOrigin", bare.encode() + seal_of([bare], unlogged=True).encode(), "QUI-19")
    ask("a BODY after the origin", "OnlyOrigin", bare.encode() + frame("body", b"x"), "QUI-19?")
    ask("an END after END", "OnlyOrigin", full.encode() + end_, "QUI-19?")
    ask("BODY before the origin", "Order", frame("body", b"x") + bare.encode(), "FRM-8")
    ask("SEAL before the origin", "Order", seal_of([bare], unlogged=True).encode() + bare.encode(), "FRM-7")
    ask("INTERIM before the origin", "Order", seal_of([bare], "interim").encode() + bare.encode(), "FRM-7")
    ask("a second LAYER within the body", "Order", head + bare.encode() + end_, "FRM-7")
    ask("SETTINGS", "Order", frame("settings", b"") + bare.encode(), "FRM-5")
    ask("the origin as CORE", "Withheld", bare.withhold(0, ZERO).encode(), "FRM-5")
    ask("args withheld", "Withheld", full.withhold_field(0).encode(), "FRM-6")
    ask("the body withheld", "Withheld", full.withhold_body().encode(), "FRM-9")
    ask("body-unread sent", "Withheld", replace(bare, flags=BODY_UNREAD).encode(), "LAY-2")
    ask("a wrong signature", "BadChain", replace(full, signature=flip(full.signature, 40)).encode(), "LAY-9")

    f.group("answer")

    def answer(comment, flag, data, expect="valid", origin=bare):
        f.case(comment, flag, expect, origin=origin.encode(), input=data)
    layers = [bare, admit(), step("dispatch", time=2000), step("serve", 200, b"hello Dexter", time=3000)]
    frames = [layer.encode() for layer in layers[1:]]
    seal = seal_of(layers)
    good = b"".join(frames) + seal.encode()
    answer("a read", "Answer", good)
    own = stack(*layers[:3], step("serve", 200, b"x", actor=SERVICE), signed={3: "service"})
    answer("a layer signed by the service", "Answer", b"".join(layer.encode() for layer in own[1:]) + seal_of(own).encode())
    answer("an origin with body, signed", "Answer", admit().encode() + step("serve", 200).encode() + seal_of([full, admit(), step("serve", 200)]).encode(), origin=full)
    answer("recorded", "Answer", b"".join(frames) + seal_of(layers, items={4: b""}).encode())
    refused = [bare, admit(511)]
    answer("511, unlogged", "Answer", refused[1].encode() + seal_of(refused, unlogged=True).encode())
    answer("403, logged", "Answer", admit(403).encode() + seal_of([bare, admit(403)], type=4).encode())
    long = [*layers[:2], step("serve", 200), step("segment", body=b"one"), step("segment", body=b"two", flags=COMPLETE)]
    data = [layer.encode() for layer in long[1:]]
    interim = seal_of(long[:4], "interim").encode()
    answer("segments and an interim seal", "Answer", b"".join(data[:3]) + interim + data[3] + seal_of(long).encode())
    parts = [*layers[:3], step("serve", 200, time=3000), step("segment", body=b"one", time=4000), step("segment", body=b"two", time=5000), step("segment", time=6000, flags=COMPLETE)]
    cut = [*parts[:6], step("segment", time=6000, flags=CUT)]
    broke = [*parts[:6], step("segment", 503, time=6000, flags=CUT, fields=[("remedy", "wait")])]

    def stream(layers, interims=(5, 6), **r0):
        """What a node sends of a stream: each interim seal behind the layers that it covers."""
        seals = {after: seal_of(layers[:after], "interim", count=4, offset=1, first=1000 * after).encode() for after in interims}
        return b"".join(layer.encode() + seals.get(place, b"") for place, layer in enumerate(layers[1:], 2)) + seal_of(layers, count=70, offset=69, **r0).encode()
    answer("a stream, each segment sealed, and an end without bytes", "Answer", stream(parts))
    answer("a stream, cut", "Answer", stream(cut, flags=ENTRY_FLAG["cut"]))
    answer("a stream, broken off by the service", "Answer", stream(broke, flags=ENTRY_FLAG["cut"]))
    answer("a stream, its end under an interim seal, too", "Answer", stream(parts, interims=(5, 6, 7)))
    answer("a stream that ends behind an interim seal", "Cut", stream(parts)[:-len(seal_of(parts, count=70, offset=69).encode()) - len(parts[6].encode())], "QUI-18")
    answer("a stream without the second segment", "BadChain", stream(parts).replace(parts[5].encode(), b""), "HSH-5")
    answer("a stream whose end says cut, sealed as complete", "BadChain", stream(parts).replace(parts[6].encode(), cut[6].encode()), "HSH-5")
    asked = origin("0xSW:0x001:greeting", body=b"hi", signed=True)
    done = [asked, admit(), step("serve", 200, b"", time=2000), step("commit", time=3000)]
    lost = [asked, admit(), step("dispatch", time=2000), step("serve", 504, time=3000, fields=[("remedy", "look-before-retry"), ("outcome-unknown", b"")])]
    tail = {"opcode": 0x21, "type": 2, "count": 5, "offset": 4}
    answer("a write, in a commit of five", "Answer", b"".join(layer.encode() for layer in done[1:]) + seal_of(done, **tail).encode(), origin=asked)
    answer("a write, recorded", "Answer", b"".join(layer.encode() for layer in done[1:]) + seal_of(done, **tail, items={ITEM["recorded"]: b""}).encode(), origin=asked)
    answer("a write, outcome-unknown", "Answer", b"".join(layer.encode() for layer in lost[1:]) + seal_of(lost, **tail, flags=2).encode(), origin=asked)
    proof, r0 = proof_for(layers)
    answer("with a proof", "Answer", b"".join(frames) + seal_of(layers, **r0, items={ITEM["proof"]: proof.encode().encode()}).encode())
    answer("with a proof of another index", "BadChain", b"".join(frames) + seal_of(layers, **r0 | {"first": 6}, items={ITEM["proof"]: proof.encode().encode()}).encode(), "LOG-11")
    answer("with a proof whose path is cut", "BadChain", b"".join(frames) + seal_of(layers, **r0, items={ITEM["proof"]: replace(proof, path=proof.path[1:]).encode().encode()}).encode(), "LOG-16")
    answer("mode async", "Answer", b"".join(frames) + seal_of(layers, mode=1).encode())
    answer("the interim seal one layer early", "BadChain", b"".join(data[:2]) + interim + b"".join(data[2:]) + seal_of(long).encode(), "HSH-5")
    answer("unknown odd frames before, within and after", "Unknown", skip + good[:-len(seal.encode())] + skip + seal.encode() + skip)
    answer("an unknown odd frame within a body", "Unknown", good.replace(frame("body", b"hello Dexter"), frame("body", b"hello ") + skip + frame("body", b"Dexter")))
    answer("17 unknown odd frames", "Unknown", skip * 17 + good, "FRM-4")
    answer("an unknown even frame after SEAL", "Unknown", good + Frame(0x20, b"").encode(), "FRM-3?")
    answer("an unknown odd SEAL item", "Unknown", b"".join(frames) + frame("seal", seal.encode_payload() + varint(99) + b"\0"))
    answer("nothing", "Cut", b"", "QUI-18")
    answer("no SEAL", "Cut", b"".join(frames), "QUI-18")
    answer("a SEAL that is cut", "Cut", good[:-1], "QUI-18")
    answer("the end within a layer", "Cut", b"".join(frames)[:-19], "QUI-18")
    answer("two SEALs", "After", good + seal.encode(), "QUI-19")
    answer("a layer after SEAL", "After", good + raw_layer(), "QUI-19")
    answer("an INTERIM after SEAL", "After", good + interim, "QUI-19")
    answer("AUTH in an answer", "Auth", auth + good, "FRM-5")
    answer("the origin sent back", "Order", bare.encode() + good, "LAY-4")
    answer("SEAL within a layer", "Order", b"".join(frames)[:-19] + seal.encode(), "FRM-7")
    answer("a BODY outside a layer", "Order", frame("body", b"x") + good, "FRM-8")
    answer("KEYS", "Order", frame("keys", key_list().encode()) + good, "FRM-5")
    answer("a layer as CORE", "Withheld", layers[1].withhold(1, chain(layers)[0]).encode() + b"".join(frames[1:]) + seal.encode(), "FRM-5")
    answer("a body withheld", "Withheld", b"".join(frames[:2]) + layers[3].withhold_body().encode() + seal.encode(), "FRM-9")
    answer("heads", "Withheld", b"".join(frames) + seal_of(layers, heads=True).encode(), "FRM-16")
    answer("keys", "Withheld", b"".join(frames) + seal_of(layers, keys=key_list()).encode(), "FRM-16")
    unread = replace(full, flags=BODY_UNREAD, body=None, body_salt=None, signature=None)
    answer("413, the body was not read", "BodyUnread", admit(413).encode() + seal_of([unread, admit(413)], type=4).encode(), origin=full)
    answer("511, the body was not read", "BodyUnread", admit(511).encode() + seal_of([unread, admit(511)], unlogged=True).encode(), origin=full)
    answer("body-unread, F over the whole origin", "BodyUnread", admit(413).encode() + seal_of([full, admit(413)], type=4, items={ITEM["body-unread"]: b""}).encode(), "HSH-5", full)
    answer("the body was not read, and SEAL does not say so", "BodyUnread", admit(413).encode() + replace_without(seal_of([unread, admit(413)], type=4), "body-unread").encode(), "HSH-5", full)
    bodiless = [replace(bare, flags=BODY_UNREAD), admit(413)]
    answer("body-unread, and the origin had no body", "BodyUnread", admit(413).encode() + seal_of(bodiless, type=4).encode(), "FRM-17")
    empty = origin(body=b"")
    unread = replace(empty, flags=BODY_UNREAD, body=None, body_salt=None)
    answer("body-unread, and the origin's body was empty", "BodyUnread", admit(413).encode() + seal_of([unread, admit(413)], type=4).encode(), origin=empty)
    answer("another origin", "BadChain", good, "HSH-5", origin(args='["x"]'))
    answer("a changed layer", "BadChain", replace(layers[1], time=T0).encode() + b"".join(frames[1:]) + seal.encode(), "HSH-5")
    answer("layers turned round", "BadChain", frames[1] + frames[0] + frames[2] + seal.encode(), "HSH-5")
    answer("a service's signature is wrong", "BadChain", b"".join(frames[:2]) + replace(own[3], signature=flip(own[3].signature, 3)).encode() + seal_of(own).encode(), "LAY-9")
    answer("R0's signature is wrong", "BadChain", b"".join(frames) + replace_items(seal, r0=replace(seal.receipt, time=T0).encode()).encode(), "RCP-5")
    answer("R0 of another answer", "BadChain", b"".join(frames) + replace_items(seal, r0=seal_of(layers[:2]).items[0]).encode(), "RCP-4")
    answer("R0 whose entry type is segment", "BadChain", b"".join(frames) + seal_of(layers, type=5).encode(), "RCP-14")
    answer("mode async without the entry flag", "BadChain", b"".join(frames) + seal_of(layers, mode=1, flags=0).encode(), "RCP-14")
    answer("an interim seal whose entry type is exchange", "BadChain", b"".join(data[:3]) + seal_of(long[:4], "interim", type=3).encode() + data[3] + seal_of(long).encode(), "RCP-14")
    answer("200, unlogged", "BadChain", b"".join(frames) + seal_of(layers, unlogged=True).encode(), "RCP-10")
    for comment, layers, expect in unlogged_exchanges():
        data = b"".join(layer.encode() for layer in layers[1:]) + seal_of(layers, unlogged=True).encode()
        answer(f"unlogged: {comment}", "Handshake", data, expect, layers[0])
    return f


def unlogged_exchanges():
    """Of the handshake, and what is near it: RCP-10."""
    def asked(target):
        return origin(target, body=b"{}", signed=True)
    served, done = step("serve", 200, b"{}", time=2000), step("commit", time=3000)
    for name in ("0xI:session:hello", "0xI:session:answer"):
        yield f"{name}, 200", [asked(name), admit(), served], "valid"
        yield f"{name}, refused at admission with 400", [asked(name), admit(400)], "valid"
        yield f"{name}, refused by the service with 503", [asked(name), admit(), step("serve", 503)], "valid"
    for name in ("0xIW:session:consent", "0xIW:session:renew", "0xIW:session:revoke"):
        yield f"{name}, refused at admission with 429", [asked(name), admit(429)], "valid"
        yield f"{name}, done", [asked(name), admit(), served, done], "RCP-10"
        yield f"{name}, refused by the service with 503", [asked(name), admit(), step("serve", 503)], "RCP-10"
        yield f"{name}, an admit layer that does not refuse", [asked(name), admit(), admit(200)], "RCP-10"
    for name in ("0xI:session:list", "0xIW:session:hangup", "0xI:session", "0xI:session:hello:x", "0xIW:session:hello", "0xI:session:consent", "0xI:Session:hello", "0xS:session:hello"):
        yield f"{name}, refused at admission with 400", [asked(name), admit(400)], "RCP-10"
    yield "0xI:session:list, 200", [asked("0xI:session:list"), admit(), served], "RCP-10"
    yield "0xI:session:list, 401", [asked("0xI:session:list"), admit(401)], "valid"


ORIGIN = origin_of(ROOT, 0)
LOG = VerifierKey(ORIGIN, LOG_KEY, public_key(seed("log")))
WITNESSES = {name: VerifierKey(f"{name}.example", WITNESS_KEY, public_key(seed(name))) for name in ("w1", "w2", "w3")}


def leaves_of(size: int, own: dict[int, bytes] | None = None) -> list[bytes]:
    """Leaf hashes of a log; `own` are those of entries that a case is about."""
    return [(own or {}).get(index) or leaf_hash(some(f"log {index}", 68)) for index in range(size)]


def checkpoint_of(leaves: list[bytes], witnesses=(), origin=ORIGIN, log="log", time=T0 // 1_000_000) -> Checkpoint:
    """Signed by the log and cosigned by these witnesses."""
    return signed_checkpoint(Checkpoint(origin, len(leaves), merkle_root(leaves) if leaves else H()), witnesses, log, time)


def signed_checkpoint(checkpoint: Checkpoint, witnesses=(), log="log", time=T0 // 1_000_000) -> Checkpoint:
    text = checkpoint.text()
    lines = VerifierKey(checkpoint.origin, LOG_KEY, public_key(seed(log))).sign(seed(log), text)
    return Checkpoint.parse(text + "\n" + lines + "".join(WITNESSES[name].sign(seed(name), text, time) for name in witnesses))


def proof_for(layers: list[Layer], index=5, size=7, mode=2, number=0, **signed) -> tuple[LogProof, dict]:
    """The proof of a message's entry, and what its R0 has to say to fit."""
    r0 = {"origin": origin_of(ROOT, number), "mode": mode} | ({"first": index} if mode == 2 else {})
    hash = seal_hash("seal", NODE, len(layers), chain(layers)[-1])
    promised = receipt(message_status(layers), len(layers), hash, type=3, **r0)
    leaves = leaves_of(size, {index: leaf_hash(promised.entry(message_status(layers), len(layers), hash))})
    return LogProof(index, merkle_path(leaves, index), checkpoint_of(leaves, **{"origin": r0["origin"]} | signed)), r0


def proved(layers: list[Layer], proof: LogProof | str, r0: dict, **keys) -> Message:
    text = proof if isinstance(proof, str) else proof.encode()
    return message(layers, items={ITEM["proof"]: text.encode()}, **r0, **keys)


def make_checkpoint() -> File:
    f = File("checkpoint",
             Valid=("BASIC", "a checkpoint of the log whose key is given", "LOG-3 LOG-4"),
             Others=("EXTENSION", "signature lines of keys that are not looked for are passed over", "LOG-15"),
             Forged=("FORGERY", "not by the key, or for another log", "LOG-3 LOG-15"),
             Spelling=("SECOND_ENCODING", "another spelling, or more than the three lines", "LOG-4"),
             Limit=("DENIAL_OF_SERVICE", "more signatures or bytes than a checkpoint may have", "LOG-4 LOG-17"),
             Cosigned=("BASIC", "a witness's signature is over a time, too", "LOG-15"),
             Key=("BASIC", "verifier keys, and their one spelling", "LOG-12"),
             Sign=("BASIC", "what a log and a witness sign", "LOG-3 LOG-15"))
    five = checkpoint_of(leaves_of(5))
    note, text = five.note(), five.text()
    line = note.removeprefix(text + "\n")
    key = LOG.encode()

    f.group("checkpoint")

    def case(comment, flag, note, expect="valid", key=key):
        f.case(comment, flag, expect, input=note, key=key)
    case("five leaves", "Valid", note)
    case("no leaf", "Valid", checkpoint_of([]).note())
    case("2^64 - 1 leaves", "Valid", signed_checkpoint(Checkpoint(ORIGIN, 2 ** 64 - 1, some("root"))).note())
    case("cosigned by three", "Valid Others", checkpoint_of(leaves_of(5), WITNESSES).note())
    unknown = WITNESSES["w1"].sign(seed("w1"), text, 1)
    case("another's line first", "Others", text + "\n" + unknown + line)
    case("another's line that does not verify", "Others", note + WITNESSES["w1"].sign(seed("w1"), "x", 1))
    case("another's line of an unknown type of key", "Others", note + f"\u2014 x.example {b64(some('unknown', 30))}\n")
    case("the log's line twice", "Others", note + line)
    case("the log's line, and behind it one that does not verify", "Others", note + LOG.sign(seed("log"), "x"))
    case("the log's line behind one that does not verify", "Forged", text + "\n" + LOG.sign(seed("log"), "x") + line, "LOG-15")
    other = VerifierKey(ORIGIN, LOG_KEY, OTHER)
    case("another key", "Forged", note, "LOG-3", other.encode())
    case("another key's signature under the key's id", "Forged", text + f"\n\u2014 {ORIGIN} {b64(LOG.id + sign_bytes(seed('other'), text.encode()))}\n", "LOG-15")
    raw = read_b64(line.split(" ")[2].rstrip("\n"), "LOG-4")
    case("another key id", "Forged", text + f"\n\u2014 {ORIGIN} {b64(flip(raw, 0))}\n", "LOG-3")
    case("a bit of the signature changed", "Forged", text + f"\n\u2014 {ORIGIN} {b64(flip(raw, 30))}\n", "LOG-15")
    case("a signature of 63 bytes", "Forged", text + f"\n\u2014 {ORIGIN} {b64(raw[:-1])}\n", "LOG-15")
    case("a signature of 65 bytes", "Forged", text + f"\n\u2014 {ORIGIN} {b64(raw + bytes(1))}\n", "LOG-15")
    case("another name in the line", "Forged", text + f"\n\u2014 {ORIGIN}1 {b64(raw)}\n", "LOG-3")
    case("another size", "Forged", note.replace("\n5\n", "\n6\n"), "LOG-15")
    case("another root", "Forged", note.replace(b64(five.root), b64(some("root"))), "LOG-15")
    case("another origin, signed by the log", "Forged", checkpoint_of(leaves_of(5), origin=origin_of(ROOT, 1)).note(), "LOG-3")
    case("signed as chapter 5 signs", "Forged", text + f"\n\u2014 {ORIGIN} {b64(LOG.id + sign(seed('log'), 'r0', text.encode()))}\n", "LOG-15")
    case("a cosignature under the log's key id", "Forged", text + f"\n\u2014 {ORIGIN} {b64(LOG.id + sign_bytes(seed('log'), b'cosignature/v1' + text.encode()))}\n", "LOG-15")
    for comment, changed in (
            ("a size with a leading zero", note.replace("\n5\n", "\n05\n")), ("a size with a sign", note.replace("\n5\n", "\n+5\n")),
            ("a negative size", note.replace("\n5\n", "\n-5\n")), ("no size", note.replace("\n5\n", "\n\n")),
            ("a size of 2^64", note.replace("\n5\n", f"\n{2 ** 64}\n")), ("a size in hexadecimal", note.replace("\n5\n", "\n0x5\n")),
            ("a blank behind the size", note.replace("\n5\n", "\n5 \n")), ("a root of 31 bytes", note.replace(b64(five.root), b64(five.root[:31]))),
            ("a root of 33 bytes", note.replace(b64(five.root), b64(five.root + b"x"))), ("a root without padding", note.replace(b64(five.root), b64(five.root).rstrip("="))),
            ("a root whose unused bits are set", Checkpoint(ORIGIN, 5, ZERO).text().replace("A" * 43, "A" * 42 + "B") + "\n" + line),
            ("a fourth line", text + "more\n\n" + line), ("two lines", "\n".join(text.split("\n")[:2]) + "\n\n" + line),
            ("no origin", note.removeprefix(ORIGIN)), ("a blank in the origin", note.replace("cmtp/", "cmtp /", 1)), ("a plus in the origin", note.replace("cmtp/", "cmtp+", 1)),
            ("an origin that is not ASCII", note.replace("cmtp/", "cmtp\u00e9/", 1)), ("no blank line", text + line), ("no signature line", text + "\n"), ("the text alone", text),
            ("nothing", ""), ("the last line feed is missing", note[:-1]), ("a line feed behind it", note + "\n"), ("a line behind it", note + "x\n"), ("a carriage return", note.replace("\n", "\r\n")),
            ("a hyphen for the dash", note.replace("\u2014", "-")), ("two blanks in the line", note.replace("\u2014 ", "\u2014  ")), ("a line without its signature", text + f"\n\u2014 {ORIGIN}\n"),
            ("a line with a key id alone", text + f"\n\u2014 {ORIGIN} {b64(LOG.id)}\n"), ("a signature without padding", note.rstrip("=\n") + "\n"), ("a control character", note.replace("cmtp/", "cmtp\x01/", 1)),
            ("a plus in the name", note + f"\u2014 a+b {b64(raw)}\n")):
        assert changed != note, comment
        case(comment, "Spelling", changed, "LOG-4")
    case("100 lines", "Limit", note + "".join(f"\u2014 w{i} {b64(some(f'line {i}', 68))}\n" for i in range(99)))
    case("101 lines", "Limit", note + "".join(f"\u2014 w{i} {b64(some(f'line {i}', 68))}\n" for i in range(100)), "LOG-4")
    long = note + f"\u2014 w {'A' * ((16384 - len(note.encode()) - 7) // 4 * 4)}\n"
    case("as long as a checkpoint may be, up to 3 bytes", "Limit", long)
    case("longer than a checkpoint may be", "Limit", long.replace(" w ", " wwww "), "LOG-4")

    f.group("cosignature")

    def witness(comment, note, expect="valid", by="w1"):
        f.case(comment, "Cosigned", expect, input=note, key=WITNESSES[by].encode())
    w1 = WITNESSES["w1"]
    witness("a witness", note + w1.sign(seed("w1"), text, 1_760_000_000))
    witness("at time 0", note + w1.sign(seed("w1"), text, 0))
    witness("at time 2^64 - 1", note + w1.sign(seed("w1"), text, 2 ** 64 - 1))
    witness("not by this witness", note + w1.sign(seed("w1"), text, 1), by="w2")
    witness("two lines of it: the first one counts", note + w1.sign(seed("w1"), text, 5) + w1.sign(seed("w1"), text, 4))
    good = w1.id + u(7, 64) + sign_bytes(seed("w1"), w1.signed(text, 7))
    for comment, blob in (("the time changed", flip(good, 11)), ("the time is missing", good[:4] + good[12:]), ("the time in four bytes", good[:4] + good[8:]), ("the time in seven bytes", good[:4] + good[5:]),
                          ("the signature is over another time", w1.id + u(8, 64) + good[12:]), ("the signature is over the text alone", w1.id + u(7, 64) + sign_bytes(seed("w1"), text.encode())),
                          ("a byte is missing", good[:-1]), ("a byte is left over", good + b"x"), ("key id and time alone", good[:12]), ("key id and one byte", good[:5]),
                          ("by another key", w1.id + u(7, 64) + sign_bytes(seed("w2"), w1.signed(text, 7)))):
        witness(comment, note + f"\u2014 {w1.name} {b64(blob)}\n", "LOG-15")

    f.group("verifier-key")
    f.case("a log", "Key", input=key)
    f.case("a witness", "Key", input=w1.encode())
    f.case("Go's example", "Key", input="PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    f.case("a name that is not ASCII", "Key", input=VerifierKey("z\u00fcrich", 4, NODE).encode())
    f.case("a name of 255 bytes", "Key", input=VerifierKey("n" * 255, 1, NODE).encode())
    for comment, text_ in (
            ("a name of 256 bytes", VerifierKey("n" * 256, 1, NODE).encode()), ("no name", VerifierKey("", 1, NODE).encode()), ("a blank in the name", VerifierKey("a b", 1, NODE).encode()),
            ("another id", key.replace(LOG.id.hex(), flip(LOG.id, 0).hex())), ("an id in upper case", key.replace(LOG.id.hex(), LOG.id.hex().upper())), ("an id of seven digits", key.replace(LOG.id.hex(), LOG.id.hex()[1:])),
            ("the id of the other type", key.replace(LOG.id.hex(), replace(LOG, type=4).id.hex())), ("an unknown type", replace(LOG, type=2).encode()), ("a key of 31 bytes", replace(LOG, key=LOG.key[:31]).encode()),
            ("a key of small order", replace(LOG, key=ZERO).encode()), ("no key", f"{ORIGIN}+{LOG.id.hex()}+"), ("no id", ORIGIN), ("a root key's DID", did_of(ROOT)), ("a line feed behind it", key + "\n")):
        f.case(comment, "Key", "LOG-12", input=text_)

    f.group("sign-note")
    f.case("a log", "Sign", seed=seed("log"), name=ORIGIN, noteType=1, time=0, origin=ORIGIN, size=5, root=five.root)
    f.case("a witness", "Sign", seed=seed("w1"), name="w1.example", noteType=4, time=1_760_000_000, origin=origin_of(OTHER, 3), size=2 ** 63, root=five.root)
    return f


def make_log_proof() -> File:
    f = File("log-proof",
             Valid=("BASIC", "proofs in trees of each shape", "LOG-9 LOG-16"),
             Wrong=("FORGERY", "the path does not lead from the leaf at the index to the root", "LOG-16"),
             Forged=("FORGERY", "the checkpoint is not the log's", "LOG-3 LOG-15"),
             Spelling=("SECOND_ENCODING", "another spelling, an extra line, or a proof that is cut", "LOG-9 LOG-4"),
             Limit=("DENIAL_OF_SERVICE", "more hashes than a proof may have", "LOG-17"))
    f.group("log-proof", key=LOG.encode())

    def case(comment, flag, proof, leaf, expect="valid"):
        f.case(comment, flag, expect, input=proof if isinstance(proof, str) else proof.encode(), leaf=leaf)

    def proof_at(size, index, **signed):
        leaves = leaves_of(size)
        return LogProof(index, merkle_path(leaves, index), checkpoint_of(leaves, **signed)), leaves[index]
    for size, index in ((1, 0), (2, 0), (2, 1), (3, 2), (4, 1), (5, 4), (7, 3), (7, 6), (8, 7), (255, 254), (256, 0), (257, 256)):
        case(f"leaf {index} of {size}", "Valid", *proof_at(size, index))
    case("cosigned", "Valid", *proof_at(7, 3, witnesses=WITNESSES))
    path, root, index = [some(f"node {i}") for i in range(64)], leaf_hash(some("log 0", 68)), 2 ** 62 + 5
    for place, node in enumerate(path[:63]):
        root = H(b"\1", node, root) if index >> place & 1 else H(b"\1", root, node)
    deep = LogProof(index, path[:63], signed_checkpoint(Checkpoint(ORIGIN, 2 ** 63, root)))
    case("63 hashes", "Limit", deep, leaf_hash(some("log 0", 68)))
    case("64 hashes", "Limit", replace(deep, path=path), leaf_hash(some("log 0", 68)), "LOG-17")
    proof, leaf = proof_at(7, 3)
    text = proof.encode()
    case("another leaf", "Wrong", proof, leaves_of(7)[2], "LOG-16")
    case("the index before", "Wrong", replace(proof, index=2), leaf, "LOG-16")
    case("the index behind", "Wrong", replace(proof, index=4), leaf, "LOG-16")
    case("an index that the tree does not have", "Wrong", replace(proof, index=7), leaf, "LOG-16")
    case("an index of 2^64 - 1", "Wrong", replace(proof, index=2 ** 64 - 1), leaf, "LOG-16")
    case("a tree without leaves", "Wrong", LogProof(0, [], checkpoint_of([])), leaf, "LOG-16")
    case("the first hash is missing", "Wrong", replace(proof, path=proof.path[1:]), leaf, "LOG-16")
    case("the last hash is missing", "Wrong", replace(proof, path=proof.path[:-1]), leaf, "LOG-16")
    case("one hash more", "Wrong", replace(proof, path=[*proof.path, ZERO]), leaf, "LOG-16")
    case("two hashes exchanged", "Wrong", replace(proof, path=[proof.path[1], proof.path[0], proof.path[2]]), leaf, "LOG-16")
    case("a bit of a hash changed", "Wrong", replace(proof, path=[flip(proof.path[0], 5), *proof.path[1:]]), leaf, "LOG-16")
    case("the path in a smaller tree", "Wrong", replace(proof, path=proof_at(5, 3)[0].path), leaf, "LOG-16")
    case("the checkpoint of a larger tree", "Wrong", replace(proof, checkpoint=checkpoint_of(leaves_of(8))), leaf, "LOG-16")
    case("a checkpoint by another key", "Forged", replace(proof, checkpoint=checkpoint_of(leaves_of(7), log="other")), leaf, "LOG-3")
    case("a checkpoint of another log", "Forged", proof_at(7, 3, origin=origin_of(ROOT, 1))[0], leaf, "LOG-3")
    signature = proof.checkpoint.signatures[0]
    case("the checkpoint's signature changed", "Forged", replace(proof, checkpoint=replace(proof.checkpoint, signatures=[(signature[0], flip(signature[1], 9))])), leaf, "LOG-15")
    first = text.split("\n")[2]
    for comment, changed in (
            ("another version", text.replace("@v1", "@v2", 1)), ("no header", text.split("\n", 1)[1]), ("an extra line", text.replace("\nindex", "\nextra AAAA\nindex", 1)), ("an empty extra line", text.replace("\nindex", "\nextra \nindex", 1)),
            ("no index", text.replace("index 3\n", "", 1)), ("an index with a leading zero", text.replace("index 3", "index 03", 1)), ("a negative index", text.replace("index 3", "index -3", 1)), ("an index with a sign", text.replace("index 3", "index +3", 1)),
            ("an index of 2^64", text.replace("index 3", f"index {2 ** 64}", 1)), ("two blanks", text.replace("index 3", "index  3", 1)), ("a hash of 31 bytes", text.replace(first, b64(proof.path[0][:31]), 1)), ("a hash without padding", text.replace(first, first.rstrip("="), 1)),
            ("a hash in hexadecimal", text.replace(first, proof.path[0].hex(), 1)), ("a blank behind a hash", text.replace(first, first + " ", 1)), ("a carriage return", text.replace("\n", "\r\n")), ("the header alone", "c2sp.org/tlog-proof@v1\n"),
            ("cut behind the path", text[:text.index("\n\n") + 1]), ("cut within the path", text[:80]), ("nothing", "")):
        case(comment, "Spelling", changed, leaf, "LOG-9")
    case("cut behind the blank line", "Spelling", text[:text.index("\n\n") + 2], leaf, "LOG-4")
    case("cut within the checkpoint", "Spelling", text[:-1], leaf, "LOG-4")
    case("a blank line within the path", "Spelling", text.replace(first, first + "\n", 1), leaf, "LOG-4")
    case("bytes behind it", "Spelling", text + "x", leaf, "LOG-4")
    return f


def make_consistency() -> File:
    f = File("consistency",
             Valid=("BASIC", "a log that grew", "LOG-7"),
             First=("BASIC", "nothing is kept yet: the signature alone counts", "LOG-3 LOG-7"),
             Rewritten=("FORGERY", "a log that lost or changed entries, or shows others another tree", "LOG-7"),
             Wrong=("FORGERY", "a proof that does not prove it", "LOG-7"),
             Forged=("FORGERY", "the checkpoint is not the log's", "LOG-3 LOG-15"),
             Spelling=("SECOND_ENCODING", "another spelling, or a body that is cut", "LOG-7 LOG-4"),
             Limit=("DENIAL_OF_SERVICE", "more hashes than a proof may have", "LOG-17"))
    f.group("consistency", key=LOG.encode())

    def case(comment, flag, growth, known, expect="valid"):
        known = known and {"origin": known.origin, "size": known.size, "root": known.root}
        f.case(comment, flag, expect, input=growth if isinstance(growth, str) else growth.encode(), known=known)

    def grown(old, size, **signed):
        leaves = leaves_of(size)
        return Growth(old, grown_path(leaves, old), checkpoint_of(leaves, **signed))
    kept = lambda size, **signed: checkpoint_of(leaves_of(size), **signed)
    for old, size in ((1, 2), (1, 3), (2, 3), (2, 4), (3, 4), (3, 7), (4, 7), (4, 8), (5, 8), (6, 7), (7, 8), (128, 300), (255, 257), (256, 300), (299, 300)):
        case(f"{old} to {size}", "Valid", grown(old, size), kept(old))
    case("as many", "Valid", grown(7, 7), kept(7))
    case("from nothing", "Valid", grown(0, 7), kept(0))
    case("nothing, twice", "Valid", grown(0, 0), kept(0))
    case("cosigned", "Valid", grown(4, 7, witnesses=WITNESSES), kept(4))
    case("nothing is kept", "First", grown(0, 7), None)
    case("nothing is kept, and a proof comes", "First", grown(4, 7), None)
    case("nothing is kept, by another key", "First Forged", grown(0, 7, log="other"), None, "LOG-3")
    changed = leaves_of(4, {1: some("changed")})
    case("an entry was changed", "Rewritten", grown(4, 7), checkpoint_of(changed), "LOG-7")
    case("as many, and an entry was changed", "Rewritten", grown(4, 4), checkpoint_of(changed), "LOG-7")
    case("a smaller tree", "Rewritten", grown(4, 4), kept(7), "LOG-7")
    case("a smaller tree, from the kept one's size", "Rewritten", replace(grown(4, 4), old=7), kept(7), "LOG-7")
    case("no leaf any more", "Rewritten", grown(0, 0), kept(7), "LOG-7")
    case("from nothing with a root", "Rewritten", grown(0, 7), Checkpoint(ORIGIN, 0, some("root")), "LOG-7")
    case("from another size than the kept one's", "Wrong", grown(3, 7), kept(4), "LOG-7")
    case("from 0, and one is kept", "Wrong", grown(0, 7), kept(4), "LOG-7")
    growth = grown(3, 7)
    case("the first hash is missing", "Wrong", replace(growth, path=growth.path[1:]), kept(3), "LOG-7")
    case("the last hash is missing", "Wrong", replace(growth, path=growth.path[:-1]), kept(3), "LOG-7")
    case("no hash", "Wrong", replace(growth, path=[]), kept(3), "LOG-7")
    case("one hash more", "Wrong", replace(growth, path=[*growth.path, ZERO]), kept(3), "LOG-7")
    case("a bit of a hash changed", "Wrong", replace(growth, path=[flip(growth.path[0], 5), *growth.path[1:]]), kept(3), "LOG-7")
    case("two hashes exchanged", "Wrong", replace(growth, path=[growth.path[1], growth.path[0], *growth.path[2:]]), kept(3), "LOG-7")
    case("as many, with a hash", "Wrong", replace(grown(7, 7), path=[ZERO]), kept(7), "LOG-7")
    case("from nothing, with a hash", "Wrong", replace(grown(0, 7), path=[ZERO]), kept(0), "LOG-7")
    case("the old root before a proof from a power of two", "Wrong", replace(grown(4, 7), path=[kept(4).root, *grown(4, 7).path]), kept(4), "LOG-7")
    case("63 hashes too many", "Limit", replace(growth, path=[ZERO] * 63), kept(3), "LOG-7")
    case("64 hashes", "Limit", replace(growth, path=[ZERO] * 64), kept(3), "LOG-17")
    case("by another key", "Forged", grown(3, 7, log="other"), kept(3), "LOG-3")
    case("of another log", "Forged", grown(3, 7, origin=origin_of(ROOT, 1)), kept(3), "LOG-3")
    case("the kept one is of another log", "Forged", growth, kept(3, origin=origin_of(ROOT, 1)), "LOG-3")
    signature = growth.checkpoint.signatures[0]
    case("the checkpoint's signature changed", "Forged", replace(growth, checkpoint=replace(growth.checkpoint, signatures=[(signature[0], flip(signature[1], 9))])), kept(3), "LOG-15")
    text = growth.encode()
    for comment, changed in (
            ("no first line", text.split("\n", 1)[1]), ("a leading zero", text.replace("old 3", "old 03", 1)), ("a sign", text.replace("old 3", "old +3", 1)), ("no number", text.replace("old 3", "old ", 1)), ("two blanks", text.replace("old 3", "old  3", 1)),
            ("2^64", text.replace("old 3", f"old {2 ** 64}", 1)), ("a hash of 31 bytes", text.replace(text.split("\n")[1], b64(ZERO[:31]), 1)), ("a carriage return", text.replace("\n", "\r\n")), ("cut within the proof", text[:30]), ("nothing", "")):
        case(comment, "Spelling", changed, kept(3), "LOG-7")
    case("cut within the checkpoint", "Spelling", text[:-1], kept(3), "LOG-4")
    case("bytes behind it", "Spelling", text + "x", kept(3), "LOG-4")
    return f


def make_policy() -> File:
    f = File("policy",
             Valid=("BASIC", "who counts, and how many of them", "LOG-12 LOG-13 LOG-14"),
             Short=("FORGERY", "fewer witnesses than the policy asks for", "LOG-13"),
             Forged=("FORGERY", "a line in a witness's or a log's name that is not by it", "LOG-15"),
             Logs=("CONFUSION", "a policy names logs, and the checkpoint is of another", "LOG-14"),
             Malformed=("AMBIGUITY", "a policy that does not say one thing", "LOG-12"))
    f.group("policy")
    lines = "".join(f"witness {name} {key.encode()}\n" for name, key in WITNESSES.items())
    log, two = f"log {LOG.encode()}\n", f"{lines}group g 2 w1 w2 w3\nquorum g\n"

    def case(comment, flag, policy, witnesses=("w1", "w2"), expect="valid", checkpoint=None):
        f.case(comment, flag, expect, policy=policy, input=(checkpoint or checkpoint_of(leaves_of(5), witnesses)).note())
    case("two of three, two signed", "Valid", log + two)
    case("two of three, three signed", "Valid", log + two, WITNESSES)
    case("two of three, one signed", "Valid Short", log + two, ["w3"])
    case("two of three, none signed", "Short", two, [])
    case("all of three, two signed", "Short", two.replace("group g 2", "group g all"))
    case("all of three, three signed", "Valid", two.replace("group g 2", "group g all"), WITNESSES)
    case("any of three, one signed", "Valid", two.replace("group g 2", "group g any"), ["w2"])
    case("three of three, two signed", "Short", two.replace("group g 2", "group g 3"))
    case("one witness", "Valid", lines + "quorum w2\n")
    case("one witness, another signed", "Short", lines + "quorum w3\n")
    case("quorum none", "Valid", "quorum none\n")
    case("quorum none, and witnesses", "Valid", lines + "quorum none\n")
    nested = lines + "group inner any w1 w2\ngroup outer all inner w3\nquorum outer\n"
    case("a group within a group, met", "Valid", nested, ["w2", "w3"])
    case("a group within a group, not met", "Short", nested)
    case("URLs, comments, tabs, blanks, empty lines", "Valid", f"# who counts\n\n \t\nlog {LOG.encode()} https://log.example/#top\n  # more\n\twitness  w1 {WITNESSES['w1'].encode()}\thttps://w1.example/ \nquorum\tw1")
    case("a name with a number sign", "Valid", f"witness w#1 {WITNESSES['w1'].encode()}\nquorum w#1\n")
    case("a name that is not ASCII", "Valid", f"witness z\u00fcrich {WITNESSES['w1'].encode()}\nquorum z\u00fcrich\n")
    five = checkpoint_of(leaves_of(5), ["w1"])
    twice = Checkpoint.parse(five.note() + WITNESSES["w1"].sign(seed("w1"), five.text(), 9))
    case("one witness signed twice", "Short", two, checkpoint=twice)
    case("the checkpoint is of another log", "Logs", log + two, checkpoint=checkpoint_of(leaves_of(5), ["w1", "w2"], origin=origin_of(ROOT, 1)))
    case("the checkpoint is by another key", "Logs", log + two, checkpoint=checkpoint_of(leaves_of(5), ["w1", "w2"], log="other"))
    case("the second of two logs", "Logs", log + f"log {VerifierKey(origin_of(OTHER, 0), 1, OTHER).encode()}\n" + two, checkpoint=checkpoint_of(leaves_of(5), ["w1", "w2"], origin=origin_of(OTHER, 0), log="other"))
    case("a log and the one that follows it, by one key", "Logs", log + f"log {VerifierKey(origin_of(ROOT, 1), 1, LOG.key).encode()}\n" + two, checkpoint=checkpoint_of(leaves_of(5), ["w1", "w2"], origin=origin_of(ROOT, 1)))
    bad = lambda name, text: Checkpoint.parse(five.note() + WITNESSES[name].sign(seed(name), text, 9))
    case("a witness's line over another text", "Forged", two, expect="LOG-15", checkpoint=bad("w2", "x"))
    case("a log's line over another text", "Forged", log + two, expect="LOG-15", checkpoint=Checkpoint.parse(five.text() + "\n" + LOG.sign(seed("log"), "x")))
    w1, w2 = (WITNESSES[name].encode() for name in ("w1", "w2"))
    for comment, policy in (
            ("nothing", ""), ("no quorum", lines), ("two quorums", two + "quorum none\n"), ("the same quorum twice", two + "quorum g\n"), ("a quorum of nobody", lines + "quorum w4\n"), ("a quorum of two names", lines + "quorum w1 w2\n"),
            ("a quorum without a name", lines + "quorum\n"), ("a quorum before its group", lines + "quorum g\ngroup g any w1\n"), ("0 of three", two.replace("g 2", "g 0")), ("4 of three", two.replace("g 2", "g 4")), ("2 with a leading zero", two.replace("g 2", "g 02")),
            ("2 with a sign", two.replace("g 2", "g +2")), ("minus 1", two.replace("g 2", "g -1")), ("some", two.replace("g 2", "g some")), ("2^64 of three", two.replace("g 2", f"g {2 ** 64}")), ("a group without members", lines + "group g any\nquorum none\n"),
            ("a member twice", lines + "group g 2 w1 w1\nquorum g\n"), ("a member of two groups", lines + "group g any w1 w2\ngroup h all w1 g\nquorum h\n"), ("a member that is not defined", lines + "group g any w4\nquorum g\n"), ("a member that is defined later", "group g any w1\n" + lines + "quorum g\n"),
            ("a group in itself", lines + "group g any g\nquorum g\n"), ("none as a member", lines + "group g any none\nquorum g\n"), ("none as a group", lines + "group none any w1\nquorum none\n"), ("none as a witness", f"witness none {w1}\nquorum none\n"),
            ("a name twice", f"witness a {w1}\nwitness a {w2}\nquorum a\n"), ("a witness's name for a group", lines + "group w1 any w2\nquorum w1\n"), ("a witness's key twice", f"witness a {w1}\nwitness b {w1}\nquorum a\n"),
            ("a witness's key under two names of keys", f"witness a {w1}\nwitness b {VerifierKey('other.example', 4, WITNESSES['w1'].key).encode()}\nquorum a\n"), ("a log's key twice", log + log + two), ("a log with a witness's key", f"log {w1}\n" + two), ("a witness with a log's key", f"witness a {LOG.encode()}\nquorum a\n"),
            ("a witness without a key", "witness a\nquorum none\n"), ("a log without a key", "log\nquorum none\n"), ("a key whose id is another's", f"witness a {w1.replace(WITNESSES['w1'].id.hex(), WITNESSES['w2'].id.hex())}\nquorum a\n"), ("four words behind witness", f"witness a {w1} url more\nquorum a\n"),
            ("an unknown line", "monitor x\n" + two), ("a comment behind a line", two + "quorum g # more\n"), ("upper case", two.replace("quorum", "Quorum")), ("carriage returns", two.replace("\n", "\r\n")), ("a form feed for a blank", two.replace("quorum g", "quorum\x0cg")),
            ("a control character in a comment", "# \x07\n" + two)):
        case(comment, "Malformed", policy, expect="LOG-12")
    return f


def make_envelope() -> File:
    f = File("envelope",
             Valid=("BASIC", "each kind and scheme", "NAT-10 NAT-7 NAT-8 NAT-15 NAT-20 NAT-21"),
             Shape=("MISSING_BYTES", "bytes missing or left over", "NAT-10"),
             Unknown=("CONFUSION", "a version, kind or scheme that is not known", "NAT-10"),
             KeyId=("SECOND_ENCODING", "a key id where there is no key", "NAT-10"),
             Layers=("CONFUSION", "layers that a request, or an answer, can't have", "NAT-11 NAT-12"),
             Frames=("CONFUSION", "frames that have no place on the bus", "NAT-11 NAT-12"),
             BadTag=("FORGERY", "a tag over other bytes, or by another key", "NAT-7 NAT-8 NAT-15 NAT-20 NAT-21"),
             Downgrade=("FORGERY", "another scheme than the receiver demands", "NAT-7 NAT-8 NAT-9"),
             OtherHead=("REPLAY", "an answer to another request", "NAT-8"),
             BadSignature=("FORGERY", "the signature of a layer within is wrong", "NAT-7 NAT-8 NAT-12"),
             OtherAsk=("REPLAY", "keys that answer another ask, or are for another id", "NAT-21"),
             OtherNode=("CONFUSION", "an ask for, or keys of, another node", "NAT-20 NAT-21"),
             Clock=("REPLAY", "an ask 5 minutes off", "NAT-20"),
             Sealed=("FORGERY", "keys that don't open", "NAT-21"))
    route, instance, request_key, answer_key = some("route", 16), some("instance", 16), some("request key"), some("answer key")

    def dispatched(scheme="mac", *, signed=True, resolved=False, args='["Dexter"]', body: bytes | None = None, fields: dict | None = None, **more) -> list[Layer]:
        layers = [origin(args=args, body=body, signed=signed), admit()]
        if resolved:
            layers.append(step("resolve", fields=[("resolved", "0xS:hello")]))
        own = {"subject": b"demo.hello", "deadline": u(T0 + 30_000_000, 64), "head": chain(layers)[-1], "bus-auth": u(BUS_SCHEME[scheme], 8)} | (fields or {})
        return layers + [step("dispatch", fields=[(name, value) for name, value in own.items() if value is not None], **more)]

    def payload(layers) -> bytes:
        return b"".join(layer.encode() for layer in layers)

    def made(kind: str, scheme: str, data: bytes, head: bytes, sender=NODE, key: bytes | None = None, key_id: bytes | None = None) -> Envelope:
        keys = {"mac": answer_key if kind == "answer" else request_key, "signature": seed("service" if kind in ("answer", "ask") else "node"), "none": b""}
        ids = {"answer": instance if scheme == "mac" else bytes(16)}
        id = bytes(16) if scheme == "none" else ids.get(kind, route)
        return Envelope(kind, scheme, id if key_id is None else key_id, sender, data).authenticate(head, keys[scheme] if key is None else key)

    def request_of(layers, scheme="mac", **more) -> Envelope:
        return made("request", scheme, payload(layers), chain(layers)[-1], **more)
    layers = dispatched()
    head = chain(layers)[-1]
    serve = step("serve", 200, b"Hello, Dexter!", actor=SERVICE, fields=[("content-type", "text/plain")])
    serve_signed = serve.sign(seed("service"), 3, head)

    def answer_of(layer=serve, scheme="mac", head=head, **more) -> Envelope:
        return made("answer", scheme, layer.encode() if isinstance(layer, Layer) else layer, head, **({"sender": SERVICE} | more))
    secret = some("x25519 secret")
    asked = Ask(ROOT, instance, hpke.x25519(secret), T0)

    def ask_of(ask=asked, **more) -> Envelope:
        return made("ask", "signature", ask.encode(), ZERO, **({"sender": SERVICE} | more))
    ask = ask_of()
    ask_hash = H(ask.encode())

    def keys_of(list=key_list(), ask=ask, asked=asked, head: bytes | None = None, data: bytes | None = None, **more) -> Envelope:
        hash = H(ask.encode())
        sealed = seal_keys(asked, hash, list, request_key, answer_key, some("ephemeral"))
        return made("keys", "signature", sealed if data is None else data, hash if head is None else head, **more)

    f.group("envelope")

    def case(comment, flag, expect="valid", data=b""):
        f.case(comment, flag, expect, input=data.encode() if isinstance(data, Envelope) else data)
    every = [request_of(dispatched(scheme), scheme) for scheme in _SCHEMES] + [answer_of(scheme=scheme) for scheme in _SCHEMES]
    every += [made("cancel", scheme, head, head) for scheme in _SCHEMES] + [ask, keys_of()]
    for envelope in every:
        case(f"{envelope.kind}, {envelope.scheme}", "Valid", data=envelope)
    good = request_of(layers).encode()
    case("a payload of no byte is read here", "Shape", data=good[:83])
    for size in (0, 1, 2, 3, 18, 50, 51, 82):
        case(f"the first {size} bytes", "Shape", "NAT-10", good[:size])
    case("a signature cut", "Shape", "NAT-10", ask.encode()[:114])
    case("version 1", "Unknown", "NAT-10", b"\1" + good[1:])
    for kind in (5, 127, 255):
        case(f"kind {kind}", "Unknown", "NAT-10", good[:1] + u(kind, 8) + good[2:])
    for scheme, name in ((3, "plain"), (4, "local"), (5, "not known"), (255, "not known")):
        case(f"scheme {scheme}, {name}", "Unknown", "NAT-10", good[:2] + u(scheme, 8) + good[3:])
    for kind in ("ask", "keys"):
        for scheme in ("none", "mac"):
            case(f"{kind}, {scheme}", "Unknown", "NAT-10", Envelope(kind, scheme, bytes(16), SERVICE, bytes(88), bytes(32 * (scheme == "mac"))))
    for kind in ("request", "answer", "cancel"):
        case(f"{kind}, none, a key id", "KeyId", "NAT-10", replace(made(kind, "none", head, head), key_id=route))
    case("answer, signature, a key id", "KeyId", "NAT-10", answer_of(scheme="signature", key_id=instance, key=seed("service")))
    case("request, mac, key id zero", "KeyId", data=request_of(layers, key_id=bytes(16)))

    f.group("bus-request")

    def case(comment, flag, expect="valid", data=None, scheme="mac", mac_key=request_key):
        data = request_of(layers) if data is None else data
        f.case(comment, flag, expect, input=data.encode() if isinstance(data, Envelope) else data, scheme=BUS_SCHEME[scheme], macKey=mac_key if scheme == "mac" else None)

    def broken(comment, changed, expect="NAT-11", flag="Layers"):
        case(comment, flag, expect, request_of(changed))
    for scheme in _SCHEMES:
        case(scheme, "Valid", data=request_of(dispatched(scheme), scheme), scheme=scheme)
    case("an unsigned read", "Valid", data=request_of(dispatched(signed=False)))
    case("a body", "Valid", data=request_of(dispatched(args=None, body=b"x" * 40_000)))
    case("a body of no byte", "Valid", data=request_of(dispatched(args=None, body=b"")))
    case("a resolved name", "Valid Layers", data=request_of(dispatched(resolved=True)))
    no_dispatch = layers[:2] + [step("admit")]
    broken("no layer", [origin()][:0] or [origin()])
    broken("no dispatch", layers[:2])
    broken("two admits", no_dispatch)
    broken("no admit", [layers[0], *dispatched()[2:]])
    broken("a serve layer behind", layers + [step("serve", 200)])
    broken("another step between", [*layers[:2], step("assemble"), layers[2]])
    refused = [origin(args='["Dexter"]', signed=True), admit(403)]
    broken("admit refused", refused + [replace(layers[2], public=public(*[(field.name, chain(refused)[-1] if field.name == "head" else field.value) for field in layers[2].public]))])
    broken("dispatch refused", dispatched(status=503))
    broken("dispatch by somebody else", dispatched(actor=OTHER))
    for name in ("subject", "deadline", "head", "bus-auth"):
        broken(f"no {name}", dispatched(fields={name: None}))
    broken("head of another layer", dispatched(fields={"head": chain(layers)[0]}))
    broken("bus-auth is another scheme", dispatched(fields={"bus-auth": u(0, 8)}))
    case("a layer by another key than the sender", "Layers", "NAT-11", replace(request_of(layers), sender=OTHER).authenticate(head, request_key))
    answer_kind = replace(request_of(layers), kind="answer").authenticate(head, request_key)
    case("an answer's kind", "Layers", "NAT-10", answer_kind)
    frames_of = payload(layers)

    def raw(data: bytes) -> Envelope:
        return made("request", "mac", data, head)
    case("no byte", "Frames", "NAT-11", raw(b""))
    case("a frame cut", "Frames", "NAT-11", raw(frames_of[:-1]))
    case("a layer without END", "Frames", "NAT-11", raw(payload(dispatched(args=None, body=b"abc"))[:-18]))
    case("an unknown frame of odd type", "Frames", "NAT-11", raw(frames_of + Frame(0x41, b"x").encode()))
    case("an unknown frame of even type", "Frames", "FRM-3?", raw(frames_of + Frame(0x40, b"x").encode()))
    case("CORE", "Frames", "FRM-5?", raw(layers[0].withhold(0, ZERO).encode() + payload(layers[1:])))
    case("AUTH", "Frames", "NAT-11", raw(frame("auth", b"\0" + bytes(32)) + frames_of))
    case("SEAL", "Frames", "NAT-11", raw(frames_of + seal_of(layers).encode()))
    case("KEYS", "Frames", "FRM-5?", raw(frames_of + frame("keys", key_list().encode())))
    case("a withheld field", "Frames", "FRM-6", raw(payload([layers[0].withhold_field(0), *layers[1:]])))
    case("a tag changed", "BadTag", "NAT-7", replace(request_of(layers), tag=flip(request_of(layers).tag, 0)))
    case("another key", "BadTag", "NAT-7", mac_key=answer_key)
    case("another key id, the same tag", "BadTag", "NAT-7", replace(request_of(layers), key_id=instance))
    case("a byte of the arguments changed", "Layers", "NAT-11", replace(request_of(layers), payload=frames_of.replace(b"Dexter", b"dexter")))
    case("the subject changed", "BadTag", "NAT-7", replace(request_of(layers), payload=frames_of.replace(b"demo.hello", b"demo.jello")))
    signature = request_of(dispatched("signature"), "signature")
    case("a signature changed", "BadTag", "NAT-7", replace(signature, tag=flip(signature.tag, 3)), "signature")
    case("another's signature", "BadTag", "NAT-7", request_of(dispatched("signature"), "signature", key=seed("other")), "signature")
    case("signed for another use", "BadTag", "NAT-7", replace(signature, tag=sign(seed("node"), "layer", signature.tagged(chain(dispatched("signature"))[-1]))), "signature")
    case("none, where mac is demanded", "Downgrade", "NAT-7", request_of(dispatched("none"), "none"))
    case("mac, where signature is demanded", "Downgrade", "NAT-7", scheme="signature")
    case("signature, where mac is demanded", "Downgrade", "NAT-7", signature)
    forged = [replace(layers[0], signature=flip(layers[0].signature, 5)), *layers[1:]]
    case("the origin's signature is wrong", "BadSignature", "NAT-7", request_of(forged))

    f.group("bus-answer", request=payload(layers).hex())

    def case(comment, flag, expect="valid", data=None, scheme="mac", mac_key=answer_key):
        data = answer_of() if data is None else data
        f.case(comment, flag, expect, input=data.encode(), scheme=BUS_SCHEME[scheme], macKey=mac_key if scheme == "mac" else None)
    for scheme in _SCHEMES:
        case(scheme, "Valid", data=answer_of(scheme=scheme), scheme=scheme)
    case("the layer is signed, too", "Valid", data=answer_of(serve_signed))
    case("a refusal", "Valid", data=answer_of(step("serve", 404, actor=SERVICE, fields=[("detail", "nobody of that name")])))
    case("no body", "Valid", data=answer_of(step("serve", 204, actor=SERVICE)))
    for status in (0, 100, 199):
        case(f"status {status}", "Layers", "NAT-12", answer_of(step("serve", status, actor=SERVICE)))
    case("another step", "Layers", "NAT-12", answer_of(step("commit", 200, actor=SERVICE)))
    case("the node's key as actor", "Layers", "NAT-12", answer_of(step("serve", 200)))
    case("an origin", "Layers", "LAY-4?", answer_of(origin()))
    case("two layers", "Layers", "NAT-12", answer_of(serve.encode() + serve.encode()))
    case("no layer", "Layers Frames", "NAT-12", answer_of(b""))
    case("the request's frames before it", "Layers", "LAY-4?", answer_of(payload([*layers, serve])))
    case("a cancel's kind", "Layers", "NAT-10", replace(answer_of(), kind="cancel").authenticate(head, answer_key))
    case("an unknown frame", "Frames", "NAT-12", answer_of(serve.encode() + Frame(0x41, b"").encode()))
    case("SEAL behind", "Frames", "NAT-12", answer_of(serve.encode() + seal_of([*layers, serve]).encode()))
    case("cut within the body", "Frames", "NAT-12", answer_of(serve.encode()[:-20]))
    case("a body withheld", "Frames", "FRM-9", answer_of(serve.withhold_body()))
    case("a tag changed", "BadTag", "NAT-8", replace(answer_of(), tag=flip(answer_of().tag, 31)))
    case("under the request key", "BadTag", "NAT-8", answer_of(key=request_key))
    case("the request's tag", "BadTag", "NAT-8", replace(answer_of(), tag=request_of(layers).tag))
    case("the same answer to another request", "OtherHead", "NAT-8", answer_of(head=chain(dispatched(signed=False))[-1]))
    case("none, where mac is demanded", "Downgrade", "NAT-8", answer_of(scheme="none"))
    case("mac, where signature is demanded", "Downgrade", "NAT-8", scheme="signature")
    case("the layer is signed for another head", "BadSignature", "NAT-8", answer_of(serve.sign(seed("service"), 3, ZERO)))
    case("the layer is signed for another place", "BadSignature", "NAT-8", answer_of(serve.sign(seed("service"), 4, head)))

    f.group("bus-cancel")

    def case(comment, flag, expect="valid", data=None, scheme="mac", mac_key=request_key):
        f.case(comment, flag, expect, input=data.encode(), scheme=BUS_SCHEME[scheme], macKey=mac_key if scheme == "mac" else None)
    for scheme in _SCHEMES:
        case(scheme, "Valid", data=made("cancel", scheme, head, head), scheme=scheme)
    case("31 bytes", "Shape", "NAT-10", made("cancel", "mac", head[:31], head))
    case("33 bytes", "Shape", "NAT-10", made("cancel", "mac", head + b"\0", head))
    case("another head than the tag's", "BadTag", "NAT-15", made("cancel", "mac", flip(head, 0), head))
    case("under the answer key", "BadTag", "NAT-15", made("cancel", "mac", head, head, key=answer_key))
    case("none, where mac is demanded", "Downgrade", "NAT-15", made("cancel", "none", head, head))

    f.group("bus-ask")

    def case(comment, flag, expect="valid", data=ask, at=T0, node=ROOT):
        f.case(comment, flag, expect, input=data.encode(), node=node, at=at)
    skew = LIMIT["clock-skew-max"] * 1_000_000
    case("an ask", "Valid")
    case("5 minutes old", "Clock", at=T0 + skew)
    case("older", "Clock", "NAT-20", at=T0 + skew + 1)
    case("5 minutes ahead", "Clock", at=T0 - skew)
    case("further ahead", "Clock", "NAT-20", at=T0 - skew - 1)
    case("another node", "OtherNode", "NAT-20", node=OTHER)
    case("time 2^62", "Shape", "CNV-2", ask_of(replace(asked, time=1 << 62)))
    case("a byte left over", "Shape", "NAT-10", made("ask", "signature", asked.encode() + b"\0", ZERO, SERVICE))
    case("a byte missing", "Shape", "NAT-10", made("ask", "signature", asked.encode()[:-1], ZERO, SERVICE))
    case("signed by another", "BadTag", "NAT-20", ask_of(key=seed("other")))
    case("another X25519 key", "BadTag", "NAT-20", replace(ask, payload=flip(ask.payload, 50)))
    case("another key id", "BadTag", "NAT-20", replace(ask, key_id=instance))

    f.group("bus-keys", ask=ask.encode().hex(), secret=secret.hex())

    def case(comment, flag, expect="valid", data=None, at=T0):
        f.case(comment, flag, expect, input=(keys_of() if data is None else data).encode(), at=at)
    case("keys", "Valid")
    case("for another ask", "OtherAsk", "NAT-21", keys_of(head=H(ask_of(replace(asked, time=T0 + 1)).encode())))
    case("for another id", "OtherAsk", "NAT-21", keys_of(key_id=instance))
    case("another node's list", "OtherNode", "NAT-21", keys_of(key_list(root="other")))
    case("a list whose signature is wrong", "OtherNode", "NAT-21", keys_of(replace(key_list(), number=8)))
    case("by a key that the list does not have", "OtherNode", "NAT-21", keys_of(sender=OTHER, key=seed("other")))
    case("by a layer key that is over", "OtherNode", "NAT-21", keys_of(sender=public_key(seed("old node")), key=seed("old node")))
    case("by that key in its time", "Valid", data=keys_of(sender=public_key(seed("old node")), key=seed("old node")), at=T0 - 2)
    case("by a key of another use", "OtherNode", "NAT-21", keys_of(sender=public_key(seed("log")), key=seed("log")))
    case("a signature changed", "BadTag", "NAT-21", replace(keys_of(), tag=flip(keys_of().tag, 1)))
    body = keys_of().payload
    case("enc changed", "Sealed", "NAT-21", keys_of(data=flip(body, -100)))
    case("a point of small order as enc", "Sealed", "NAT-21", keys_of(data=body[:-112] + bytes(32) + body[-80:]))
    case("the ciphertext changed", "Sealed", "NAT-21", keys_of(data=flip(body, -40)))
    case("its tag changed", "Sealed", "NAT-21", keys_of(data=flip(body, -1)))
    case("sealed for another ask", "Sealed", "NAT-21", keys_of(data=seal_keys(asked, ZERO, key_list(), request_key, answer_key, some("ephemeral"))))
    case("sealed to another key", "Sealed", "NAT-21", keys_of(asked=replace(asked, sealing_key=hpke.x25519(some("other secret")))))
    case("a byte left over", "Shape", "NAT-10", keys_of(data=body + b"\0"))
    case("a byte missing", "Shape", "NAT-10", keys_of(data=body[:-1]))
    case("a list longer than may be", "Shape", "LIM-2", keys_of(data=varint(LIMIT["keys-frame-max"] + 1) + bytes(LIMIT["keys-frame-max"] + 113)))
    case("an ask's kind", "OtherAsk", "NAT-10", replace(keys_of(), kind="ask").authenticate(ask_hash, seed("node")))
    return f


_SCHEMES = ("none", "mac", "signature")


def make_token() -> File:
    f = File("token", **tokens.NOTES)
    f.group("token", **tokens.GROUP)
    for comment, flags, expect, token, now in tokens.cases():
        f.case(comment, flags, expect, token=token, now=now)
    return f


def replace_without(seal: Seal, name: str) -> Seal:
    return decode_seal(seal.name, seal.key, seal.hash, {type: item for type, item in seal.items.items() if type != ITEM[name]}, 0)


# --- writing and checking -----------------------------------------------------------------------------------------------

FILES = [make_varint, make_frame, make_field, make_leaf, make_body, make_layer, make_signature, make_chain, make_seal, make_key_list, make_receipt, make_did,
         make_stored, make_fqmn, make_subject, make_pattern, make_process, make_message, make_envelope, make_checkpoint, make_log_proof,
         make_consistency, make_policy, make_token, lambda: make_identity(File), lambda: policies.make(File),
         *(lambda make=make: make(File) for make in session.MAKERS)]


def cases(data: dict) -> dict[int, tuple]:
    """tcId: the case with its group."""
    return {test["tcId"]: ({key: value for key, value in group.items() if key != "tests"}, test) for group in data["testGroups"] for test in group["tests"]}


def check(name: str, made: dict) -> list[str]:
    """The cases that differ from those of the file."""
    try:
        there = json.loads((HERE / f"{name}.json").read_text())
    except (OSError, ValueError) as error:
        return [f"{name}: {error}"]
    old, new = cases(there), cases(made)
    wrong = [f"{name} {id}: {(new.get(id) or old.get(id))[1]['comment']}" for id in sorted(old.keys() | new.keys()) if old.get(id) != new.get(id)]
    return wrong or ([] if there == made else [f"{name}: notes or heading"])


def main(arguments: list[str]) -> int:
    total, wrong = 0, []
    for make in FILES:
        made = make()
        total += made.count
        data = json.loads(json.dumps(made.json()))
        if arguments == ["--check"]:
            wrong += check(made.name, data)
        else:
            (HERE / f"{made.name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=True) + "\n")
            print(f"{made.name}: {made.count}")
    print("\n".join(wrong + [f"{total} cases, {len(wrong)} differ" if arguments else f"{total} cases"]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
