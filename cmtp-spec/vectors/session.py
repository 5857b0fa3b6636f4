"""Chapter 22: the messages of the handshake, their transcript, what is offered, what is revoked; and the cases of session*.json and scope.json."""
from __future__ import annotations

import base64
import json
import re
from typing import Callable, NamedTuple

from base import *
from ed25519 import did_of, key_of_did, public_key, sign, verify_signature
from fqmn import Pattern

_EXACT = 1 << 53                     # integers below it are exact in every reader of JSON

# --- what stands in messages --------------------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: object, size: int) -> bytes:
    require(isinstance(text, str) and re.fullmatch("[A-Za-z0-9_-]*", text) and len(text) % 4 != 1, "SES-6", "not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    require(len(data) == size and b64(data) == text, "SES-6", f"not base64url of {size} bytes")
    return data


def _text(value: object) -> str:
    require(isinstance(value, str), "SES-6", "not a text")
    decode_utf8(value.encode("utf-8", "surrogatepass"), "SES-6")         # a lone surrogate is no text
    return value


def _number(value: object) -> int:
    require(type(value) is int and 0 <= value < _EXACT, "SES-6", "not a number")
    return value


def _list(of: Callable, most: int | None = None, least: int = 0) -> Callable:
    def read(value: object) -> list:
        require(isinstance(value, list) and len(value) >= least, "SES-6", "not a list, or one of too few")
        require(most is None or len(value) <= most, "SES-6", "a list of too many")
        return [of(one) for one in value]
    return read


def _versions(value: object) -> list[int]:
    numbers = _list(_number, 16, 1)(value)
    require(all(a < b for a, b in zip(numbers, numbers[1:])), "SES-6", "versions do not ascend")
    return numbers


def _did(value: object) -> bytes:
    return key_of_did(_text(value))


def _bytes(size: int) -> Callable:
    return lambda value: unb64(value, size)


def _pattern(value: object) -> str:
    Pattern(_text(value).encode())
    return value


def _scope(value: object) -> dict[str, list[str]]:
    scope = _object(value, {"read": _list(_pattern), "write": _list(_pattern)})
    require(sum(map(len, scope.values())) <= LIMIT["scope-patterns-max"], "ADM-6", "too many patterns")
    return scope


def _ask(value: object) -> dict:
    return _object(value, {"what": _text, "required": _truth})


def _truth(value: object) -> bool:
    require(isinstance(value, bool), "SES-6", "neither true nor false")
    return value


def _agreed(value: object) -> bool:
    require(value is True, "SES-6", "no consent")
    return value


def _grant(value: object) -> str:
    unb64(value, 16)
    return value


def _attributes(value: object) -> dict[str, str]:
    require(isinstance(value, dict), "SES-6", "not an object")
    return {_text(name): _text(text) for name, text in value.items()}


def _object(value: object, members: dict[str, Callable], optional: tuple[str, ...] = ()) -> dict:
    """All members in the order of the chapter; None: left out."""
    require(isinstance(value, dict), "SES-6", "not an object")
    require(value.keys() <= members.keys(), "SES-6", f"a member more: {sorted(value.keys() - members.keys())}")
    lacking = members.keys() - value.keys()
    require(lacking <= set(optional), "SES-6", f"members are missing: {sorted(lacking)}")
    return {name: read(value[name]) if name in value else None for name, read in members.items()}


_GRANTED = {"scope": _scope, "groups": _list(_text), "attributes": _attributes}
FORMS = {
    "hello": {"versions": _versions, "persona": _did, "nonce": _bytes(32)},
    "call": {"version": _number, "node": _did, "nonce": _bytes(32), "asks": _list(_ask, LIMIT["session-asks-max"])},
    "answer": {"scope": _scope, "recovery": _bytes(32), "outside": _list(_text, LIMIT["outside-tokens-max"])},
    "confirm": _GRANTED | {"grant-seconds": _number, "token-seconds": _number},
    "consent": {"consents": _agreed},
    "token": {"token": _text, "grant": _grant, "ends": _number},
    "renew": {"grant": _grant},
    "granted": {"persona": _did} | _GRANTED | {"recovery": _bytes(32), "begun": _number, "ends": _number, "token-seconds": _number},
}
_OPTIONAL = {"answer": ("scope", "recovery", "outside"), "granted": ("recovery",)}


def _once(pairs: list[tuple[str, object]]) -> dict:
    require(len({name for name, _ in pairs}) == len(pairs), "SES-6", "a member twice")
    return dict(pairs)


def _digits(text: str) -> int:
    require(text.isdigit(), "SES-6", "a number with a sign")
    return int(text)


def _refuse(text: str) -> None:
    raise Malformed("SES-6", f"{text} is no whole number")


def read_message(kind: str, data: bytes) -> dict:
    """A message of this kind, its DIDs as keys and its base64url as bytes, but for the grant's name, which is a text."""
    require(len(data) <= LIMIT["session-message-max"], "SES-6", "longer than session-message-max")
    text = decode_utf8(data, "SES-6")
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_int=_digits, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed("SES-6", str(error)) from None
    try:
        return _object(value, FORMS[kind], _OPTIONAL.get(kind, ()))
    except Malformed as error:                                          # a DID, a pattern or a scope that is none
        raise Malformed("SES-6", str(error)) from None


def write_message(**members: object) -> bytes:
    return json.dumps({name.replace("_", "-"): value for name, value in members.items()}, separators=(",", ":")).encode()

# --- transcript and names -----------------------------------------------------------------------------------------------

STEPS = ("hello", "call", "answer", "confirm", "consent", "renew")
SIGNERS = {"call": "node", "answer": "persona", "confirm": "node", "consent": "persona", "renew": "persona"}


def transcript(messages: list[bytes]) -> list[bytes]:
    """th_1, th_2, …"""
    hashes = [ZERO]
    for number, message in enumerate(messages, 1):
        hashes.append(H(TAG["transcript"], u(number, 8), hashes[-1], message))
    return hashes[1:]


def renewal_hash(message: bytes) -> bytes:
    return H(TAG["transcript"], b"\6", ZERO, message)


class Parties(NamedTuple):
    """What each signature of a handshake covers besides the transcript."""
    exporter_value: bytes
    node: bytes
    persona: bytes

    def payload(self, hash: bytes) -> bytes:
        return self.exporter_value + self.node + self.persona + hash


def name_of(consent_hash: bytes) -> str:
    """G."""
    return b64(consent_hash[:16])

# --- what is offered ----------------------------------------------------------------------------------------------------


def includes(wide: str, narrow: str) -> bool:
    """Whether a pattern covers all that another covers."""
    wide, narrow = (Pattern(text.encode()).elements for text in (wide, narrow))
    if wide[-1] == "**":
        wide = wide[:-1]
        if len(narrow) <= len(wide):
            return False
        narrow = narrow[:len(wide)]
    # Of two elements ** stands for more than any other.
    return len(wide) == len(narrow) and all(a == b or a == "*" and b != "**" for a, b in zip(wide, narrow))


def offered(own: list[str], wanted: list[str]) -> list[str]:
    """All that SES-8 lets a node offer, sorted."""
    fits = {want for want in wanted if any(includes(mine, want) for mine in own)}
    return sorted(fits | {mine for mine in own if any(includes(want, mine) for want in wanted)})

# --- what is revoked ----------------------------------------------------------------------------------------------------


def read_revoked(data: bytes) -> dict:
    """The content of an entry of type `revoked`."""
    try:
        return _read_revoked(data)
    except Malformed as error:
        raise Malformed(None, str(error)) from None


def _read_revoked(data: bytes) -> dict:
    text = decode_utf8(data, None)
    require(text.endswith("\n"), None, "no line feed at the end")
    match text[:-1].split(" "):
        case ["grant", grant]:
            return {"kind": "grant", "grant": _grant(grant)}
        case ["token", jti, time]:
            require(jti.startswith(BINDING["operator-token"]), None, "not a token of the operator's")
            require(re.fullmatch("[!-~]{1,64}", jti), None, "not the jti of a token")
            return {"kind": "token", "jti": jti, "time": _time(time)}
        case ["persona", did, time]:
            return {"kind": "persona", "persona": key_of_did(did), "time": _time(time)}
        case ["stolen", did]:
            return {"kind": "stolen", "persona": key_of_did(did)}
    raise Malformed(None, "no such line")


def _time(text: str) -> int:
    require(re.fullmatch("0|[1-9][0-9]*", text), None, "not a number in decimal")
    require(int(text) < TIME_END, "CNV-2", "a time is below 2^62")
    return int(text)

# --- computing a case ---------------------------------------------------------------------------------------------------


def shown(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {name: shown(one) for name, one in value.items()}
        case list():
            return [shown(one) for one in value]
        case int() if value >= _EXACT:
            return str(value)
    return value


def run_session_message(group, case):
    message = read_message(group["message"], case["input"])
    if group["message"] == "answer":
        message["outside"] = message["outside"] or []                   # none, whether it is left out or empty
    return {"decoded": shown(message)}


def run_session_sign(group, case):
    seeds = {"node": case["nodeSeed"], "persona": case["personaSeed"]}
    parties = Parties(case["exporter"], case["node"], public_key(seeds["persona"]))
    hashes = transcript([case["messages"][step] for step in STEPS[:5]]) + [renewal_hash(case["messages"]["renew"])]
    signatures = {step: sign(seeds[SIGNERS[step]], f"session-{step}", parties.payload(hash)).hex() for step, hash in zip(STEPS, hashes) if step in SIGNERS}
    grant = name_of(hashes[4])
    return {"persona": parties.persona.hex(), "tokenKey": public_key(seeds["node"]).hex(), "transcript": shown(hashes), "signatures": signatures, "grant": grant, "jti": grant,
            "renewedJti": f"{grant}.{case['iat']}"}


def run_session(group, case):
    """All that the two sides of a handshake check of it together, but for cookies."""
    hello, call, answer, confirm, _ = (read_message(step, case["messages"][step]) for step in STEPS[:5])
    require(hello["persona"] == case["persona"], "SES-2", "another actor than the persona")
    require(call["version"] in hello["versions"] and call["node"] == case["node"], "SES-7", "another version or node")
    for form in ("read", "write"):
        wanted = answer["scope"] and answer["scope"][form]
        require(wanted is None or all(any(includes(wide, one) for wide in wanted) for one in confirm["scope"][form]), "SES-8", "wider than wanted")
    parties = Parties(case["exporter"], case["node"], case["persona"])
    hashes = transcript([case["messages"][step] for step in STEPS[:5]])
    for step, hash in zip(STEPS[1:], hashes[1:]):
        _check(step, case["tokenKey"] if SIGNERS[step] == "node" else case["persona"], parties, hash, case["signatures"][step])
    return {"transcript": shown(hashes), "grant": name_of(hashes[4])}


def run_renewal(group, case):
    grant, hash = read_message("renew", case["input"])["grant"], renewal_hash(case["input"])
    _check("renew", case["persona"], Parties(case["exporter"], case["node"], case["persona"]), hash, case["signature"])
    return {"hash": hash.hex(), "grant": grant}


def _check(step: str, key: bytes, parties: Parties, hash: bytes, signature: bytes) -> None:
    try:
        verify_signature(key, f"session-{step}", parties.payload(hash), signature)
    except Malformed as error:
        raise Malformed("SES-9", f"{step}: {error}") from None


def run_session_jti(group, case):
    grant, dot, number = case["jti"].partition(".")
    unb64(grant, 16)
    require(not dot or re.fullmatch("0|[1-9][0-9]*", number) and int(number) < _EXACT, "SES-11", "not a number in decimal")
    return {"grant": grant, "iat": int(number) if dot else None}


def run_includes(group, case):
    return {"included": includes(case["wide"], case["narrow"])}


def run_offer(group, case):
    return {"offered": offered(case["own"], case["wanted"])}


def run_revoked(group, case):
    return shown(read_revoked(case["input"]))

# --- the cases ----------------------------------------------------------------------------------------------------------


def _seed(label: str) -> bytes:
    return H(b"seed ", label.encode())


_NODE, _PERSONA, _OTHER = (public_key(_seed(name)) for name in ("root", "persona", "other"))
_TOKEN_KEY, _EXPORTER = public_key(_seed("token")), H(b"session exporter")
_NONCE, _GRANT = b64(H(b"nonce")), b64(H(b"grant")[:16])
_SCOPE = {"read": ["0xS:**", "0xR:*"], "write": ["0xS:0x001:*"]}
GOOD = {
    "hello": {"versions": [0], "persona": did_of(_PERSONA), "nonce": _NONCE},
    "call": {"version": 0, "node": did_of(_NODE), "nonce": b64(H(b"node's nonce")), "asks": [{"what": "recovery", "required": False}, {"what": "issuer:example", "required": True}]},
    "answer": {"scope": _SCOPE, "recovery": b64(H(b"recovery")), "outside": ["header.claims.signature"]},
    "confirm": {"scope": _SCOPE, "groups": ["staff"], "attributes": {"mail": "a@example.org"}, "grant-seconds": 2_592_000, "token-seconds": 900},
    "consent": {"consents": True},
    "token": {"token": "header.claims.signature", "grant": _GRANT, "ends": 1_762_592_000},
    "renew": {"grant": _GRANT},
    "granted": {"persona": did_of(_PERSONA), "scope": _SCOPE, "groups": ["staff"], "attributes": {"mail": "a@example.org"}, "recovery": b64(H(b"recovery")), "begun": 1_760_000_000,
                "ends": 1_762_592_000, "token-seconds": 900},
}
# What a member of each kind must not be.
_WRONG = {
    "versions": ([], [1, 0], [0, 0], list(range(17)), ["0"], 0, [-1], [0.5], [None], [_EXACT]),
    "persona": ("did:web:example.org", did_of(_PERSONA)[:-1], did_of(_PERSONA).replace("did:key:z", "did:key:f"), did_of(_PERSONA).upper(), _PERSONA.hex(), 1, f" {did_of(_PERSONA)}"),
    "node": ("did:web:example.org", ""),
    "nonce": (_NONCE + "=", _NONCE[:-1], _NONCE + "A", _NONCE[:-1] + chr(ord(_NONCE[-1]) + 1), "+" + _NONCE[1:], H(b"nonce").hex(), "", 0, list(H(b"nonce"))),
    "version": (-1, 0.0, "0", True, _EXACT),
    "asks": ([{"what": "recovery", "required": False}] * 17, [{"what": "recovery"}], [{"what": "recovery", "required": 1}], [{"what": "recovery", "required": False, "why": ""}], [["recovery", False]], ["recovery"], {}),
    "scope": ({"read": []}, {"read": [], "write": [], "all": []}, {"read": ["0xS:*"] * 33, "write": ["0xS:*"] * 32}, {"read": ["0xSW:a"], "write": []}, {"read": ["0xS"], "write": []}, {"read": ["0xS:**:a"], "write": []}, {"read": "0xS:**", "write": []},
              [["0xS:**"], []], ["0xS:**"], {"read": [], "write": [1]}),
    "recovery": (_NONCE + "=", "", b64(bytes(31)), b64(bytes(33))),
    "outside": (["a"] * 9, [1], "a", {}),
    "groups": ("staff", [1], {}),
    "attributes": ({"mail": 1}, {"mail": ["a"]}, [["mail", "a"]], []),
    "grant-seconds": ("900", -1, 1.5, 1e3), "token-seconds": (False,), "begun": ("now",), "ends": (-1, 1e9),
    "consents": (False, 1, "true", [True]),
    "token": (1, ["a", "b", "c"]),
    "grant": (_GRANT + "==", _GRANT[:-1], _GRANT + "A", _GRANT[:-1] + "B", b64(bytes(15)), b64(bytes(17)), 1),
}


def make_session_message(File):
    f = File("session-message",
             Message=("BASIC", "what each message holds", "SES-6"),
             Spelling=("OVERSTRICT", "another spelling of the same object; it is hashed as it was sent", "SES-6"),
             Members=("AMBIGUITY", "a member more, twice, or none", "SES-6"),
             Null=("AMBIGUITY", "null is no way to leave a member out", "SES-6"),
             List=("AMBIGUITY", "the values alone, as a list, are no object", "SES-6"),
             Value=("CONFUSION", "a member that is not of its kind, not in its one spelling, or too much", "SES-6 CNV-3 ADM-6"),
             Text=("AMBIGUITY", "what is no JSON, or more than one object of it", "SES-6"),
             Long=("DENIAL_OF_SERVICE", "longer or deeper than a message can be", "SES-6"))

    def text(value) -> bytes:
        return json.dumps(value, separators=(",", ":")).encode()

    for kind, good in GOOD.items():
        f.group("session-message", message=kind)

        def case(comment, flag, data, expect="valid"):
            f.case(f"{kind}: {comment}", flag, expect, input=data)
        case("as it is written", "Message", text(good))
        case("members in another order, white space", "Spelling", b"\n" + json.dumps(dict(reversed(good.items())), indent=2).encode() + b"\r\n\t ")
        for name, value in good.items():
            without = {other: one for other, one in good.items() if other != name}
            optional = name in _OPTIONAL.get(kind, ())
            case(f"without {name}", "Message" if optional else "Members", text(without), "valid" if optional else "SES-6")
            case(f"{name} twice", "Members", text(good)[:-1] + f",{text(name).decode()}:{text(value).decode()}}}".encode(), "SES-6")
            case(f"{name} is null", "Null", text(good | {name: None}), "SES-6")
            # Elsewhere the kinds are the same.
            if kind in ("granted", "token") and name in GOOD["confirm"] or kind in ("granted", "renew") and name in ("persona", "recovery", "grant"):
                continue
            for wrong in _WRONG[name]:
                shape = "List" if isinstance(wrong, list) and isinstance(value, dict) else "Value"
                case(f"{name}: {text(wrong).decode()[:60]}", shape, text(good | {name: wrong}), "SES-6?")
        case("a member more", "Members", text(good | {"more": 0}), "SES-6")
        case("a name in other letters", "Members", text({name.upper(): value for name, value in good.items()}), "SES-6")
        case("its values as a list", "List", text(list(good.values())), "SES-6")
        case("in a list", "List", text([good]), "SES-6")
        case("something behind", "Text", text(good) + b"{}", "SES-6")
    f.group("session-message", message="hello")
    hello = text(GOOD["hello"])

    def case(comment, flag, data, expect="valid"):
        f.case(f"hello: {comment}", flag, expect, input=data)
    case("sixteen versions", "Message", text(GOOD["hello"] | {"versions": list(range(16))}))
    case("the greatest version", "Message", text(GOOD["hello"] | {"versions": [0, _EXACT - 1]}))
    case("a letter of a name escaped", "Spelling", hello.replace(b'"nonce"', b'"n\\u006fnce"'))
    case("a letter of a value escaped", "Spelling", hello.replace(b'"did:key:', b'"\\u0064id:key:'))
    case("a member twice, one of them escaped", "Members", hello[:-1] + f',"n\\u006fnce":"{_NONCE}"}}'.encode(), "SES-6")
    case("as long as may be", "Long", hello + b" " * (LIMIT["session-message-max"] - len(hello)))
    case("longer", "Long", hello + b" " * (LIMIT["session-message-max"] + 1 - len(hello)), "SES-6")
    case("16,000 lists in each other", "Long", b"[" * 16000 + b"]" * 16000, "SES-6")
    case("a member of 10,000 objects in each other", "Long", hello[:-1] + b',"x":' + b'{"a":' * 3000 + b"0" + b"}" * 3000 + b"}", "SES-6")
    for comment, data in (("nothing", b""), ("white space", b" "), ("cut", hello[:-1]), ("a comma behind the last member", hello[:-1] + b",}"), ("single quotes", hello.replace(b'"', b"'")), ("a byte order mark", b"\xef\xbb\xbf" + hello),
                          ("a comment", hello + b"//"), ("a zero byte behind", hello + b"\0"), ("null", b"null"), ("a text", text(hello.decode())), ("UTF-16", hello.decode().encode("utf-16")),
                          ("not UTF-8", hello.replace(b"did", b"\xff\xfe\xfd")), ("a surrogate in UTF-8", hello.replace(b"did", b"\xed\xa0\x80")), ("NaN", hello.replace(b"[0]", b"[NaN]")), ("minus zero", hello.replace(b"[0]", b"[-0]")),
                          ("a zero in front", hello.replace(b"[0]", b"[00]")), ("an exponent", hello.replace(b"[0]", b"[0e0]")), ("a fraction", hello.replace(b"[0]", b"[0.0]")), ("2^64", hello.replace(b"[0]", b"[0,18446744073709551616]"))):
        case(comment, "Text", data, "SES-6")
    f.group("session-message", message="confirm")
    confirm = text(GOOD["confirm"])
    for comment, flag, data, expect in (
            ("an attribute twice", "Members", confirm.replace(b'"mail":', b'"mail":"b","mail":'), "SES-6"), ("an attribute twice, one of them escaped", "Members", confirm.replace(b'"mail":', b'"m\\u0061il":"b","mail":'), "SES-6"),
            ("read twice in the scope", "Members", confirm.replace(b'"read":', b'"read":[],"read":'), "SES-6"), ("a text with a lone surrogate", "Text", confirm.replace(b"staff", b"\\ud800"), "SES-6"),
            ("a text with a pair of surrogates", "Spelling", confirm.replace(b"staff", b"\\ud83d\\ude00"), "valid"), ("a group that is empty, one that stands twice", "Message", text(GOOD["confirm"] | {"groups": ["", "a", "a"]}), "valid"),
            ("no scope, no groups, no attributes", "Message", text(GOOD["confirm"] | {"scope": {"read": [], "write": []}, "groups": [], "attributes": {}}), "valid"),
            ("64 patterns", "Message", text(GOOD["confirm"] | {"scope": {"read": ["0xS:*"] * 40, "write": ["0xS:*"] * 24}}), "valid")):
        f.case(f"confirm: {comment}", flag, expect, input=data)
    f.group("session-message", message="answer")
    for comment, value in (("nothing is wanted or given", {}), ("an empty scope", {"scope": {"read": [], "write": []}}), ("no outside token", {"outside": []}), ("eight outside tokens", {"outside": ["t"] * 8})):
        f.case(f"answer: {comment}", "Message", input=text(value))
    return f


def _messages(**changed: bytes) -> dict[str, bytes]:
    wanted = {"scope": _SCOPE, "recovery": GOOD["answer"]["recovery"]}
    made = {step: write_message(**(wanted if step == "answer" else GOOD[step])) for step in STEPS[:5]}
    return made | changed


def _signed(messages: dict[str, bytes], exporter=_EXPORTER, node=_NODE, persona=_PERSONA, node_seed=_seed("token"), persona_seed=_seed("persona")) -> dict[str, bytes]:
    parties, hashes = Parties(exporter, node, persona), transcript([messages[step] for step in STEPS[:5]])
    seeds = {"node": node_seed, "persona": persona_seed}
    return {step: sign(seeds[SIGNERS[step]], f"session-{step}", parties.payload(hash)) for step, hash in zip(STEPS[1:], hashes[1:])}


def make_session(File):
    f = File("session",
             Signed=("BASIC", "transcript, signatures, and the names that come of them", "SES-9 SES-11"),
             Whole=("BASIC", "a handshake in which all holds", "SES-6 SES-7 SES-8 SES-9 SES-11"),
             Parties=("FORGERY", "made on another connection, for another node or persona, or by another key", "SES-9"),
             Step=("FORGERY", "a signature of another step", "SES-9"),
             Spliced=("FORGERY", "put together from two handshakes", "SES-9 SES-10"),
             Changed=("FORGERY", "a message changed by a byte, though it says the same", "SES-9"),
             Says=("CONFUSION", "signed, and it says what must not be said", "SES-2 SES-6 SES-7 SES-8"),
             Name=("CONFUSION", "what the jti of a session's token is", "SES-11"))
    messages = _messages()
    renew = write_message(grant=_GRANT)
    f.group("session-sign")
    for comment, change in (("a handshake", {}), ("another exporter value", {"exporter": H(b"other exporter")}), ("another node", {"node": _OTHER}), ("another persona", {"personaSeed": _seed("other")}),
                            ("a space behind the hello", {"messages": _messages(hello=messages["hello"] + b" ") | {"renew": renew}}), ("the least of an answer", {"messages": _messages(answer=b"{}") | {"renew": renew}})):
        f.case(comment, "Signed", **({"nodeSeed": _seed("token"), "personaSeed": _seed("persona"), "exporter": _EXPORTER, "node": _NODE, "messages": messages | {"renew": renew}, "iat": 1_760_000_000} | change))

    f.group("session")
    good = {"exporter": _EXPORTER, "node": _NODE, "tokenKey": _TOKEN_KEY, "persona": _PERSONA, "messages": messages, "signatures": _signed(messages)}

    def case(comment, flag, expect="valid", **changed):
        f.case(comment, flag, expect, **(good | changed))

    def said(comment, flag, expect, **changed):
        """Signed as it should be."""
        other = _messages(**changed)
        case(comment, flag, expect, messages=other, signatures=_signed(other))
    case("a handshake", "Whole")
    said("the least of an answer", "Whole", "valid", answer=b"{}")
    said("a client of two versions", "Whole", "valid", hello=write_message(**GOOD["hello"] | {"versions": [0, 1]}))
    said("less is offered than wanted", "Whole", "valid", confirm=write_message(**GOOD["confirm"] | {"scope": {"read": ["0xS:echo"], "write": []}}))
    said("white space in each message", "Whole", "valid", **{step: b" " + message + b"\n" for step, message in messages.items()})
    case("another exporter value", "Parties", "SES-9", exporter=H(b"other exporter"))
    case("the exporter value of AUTH", "Parties", "SES-9", exporter=H(b"auth exporter"))
    case("another token key", "Parties", "SES-9", tokenKey=_OTHER)
    case("the root key has signed", "Parties", "SES-9", signatures=_signed(messages, node_seed=_seed("root")))
    case("another has signed for the persona", "Parties", "SES-9", signatures=_signed(messages, persona_seed=_seed("other")))
    case("signed for another node", "Parties", "SES-9", signatures=_signed(messages, node=_OTHER))
    case("signed for another persona", "Parties", "SES-9", signatures=_signed(messages, persona=_OTHER))
    case("node and persona swapped", "Parties", "SES-9", signatures=_signed(messages, node=_PERSONA, persona=_NODE))
    case("signed by each for the other", "Parties", "SES-9", signatures=_signed(messages, node_seed=_seed("persona"), persona_seed=_seed("token")))
    case("another persona calls", "Parties", "SES-2", persona=_OTHER)
    case("another node is called", "Parties", "SES-7", node=_OTHER)
    signatures = good["signatures"]
    for step, signature in signatures.items():
        case(f"{step}: a bit of the signature changed", "Parties", "SES-9", signatures=signatures | {step: bytes([signature[0] ^ 1]) + signature[1:]})
        other = next(name for name in signatures if name != step and SIGNERS[name] == SIGNERS[step])
        case(f"{step}: the signature of {other}", "Step", "SES-9", signatures=signatures | {step: signatures[other]})
    parties, hashes = Parties(_EXPORTER, _NODE, _PERSONA), transcript(list(messages.values()))
    for step, use, place in (("call", "session-confirm", 1), ("answer", "session-consent", 2), ("confirm", "session-call", 3), ("consent", "session-answer", 4), ("consent", "session-renew", 4), ("answer", "auth", 2)):
        seed = _seed("token" if SIGNERS[step] == "node" else "persona")
        case(f"{step}: over its transcript, with the use {use}", "Step", "SES-9", signatures=signatures | {step: sign(seed, use, parties.payload(hashes[place]))})
    case("consent: signed over the transcript before", "Step", "SES-9", signatures=signatures | {"consent": sign(_seed("persona"), "session-consent", parties.payload(hashes[3]))})
    case("consent: signed over the message alone", "Step", "SES-9", signatures=signatures | {"consent": sign(_seed("persona"), "session-consent", parties.payload(H(messages["consent"])))})
    for step, message in messages.items():
        case(f"{step}: a space behind it", "Changed", "SES-9", messages=messages | {step: message + b" "})
    second = _messages(hello=write_message(**GOOD["hello"] | {"nonce": b64(H(b"second nonce"))}), confirm=write_message(**GOOD["confirm"] | {"grant-seconds": 60}))
    others = _signed(second)
    case("the second handshake", "Whole", "valid", messages=second, signatures=others)
    for at in range(1, 5):
        first, last = STEPS[:at], STEPS[at:5]
        case(f"{', '.join(last)} of another handshake", "Spliced", "SES-9", messages={step: messages[step] for step in first} | {step: second[step] for step in last},
             signatures={step: signatures[step] for step in first[1:]} | {step: others[step] for step in last})
    case("a confirm of another handshake in between", "Spliced", "SES-9", messages=messages | {"confirm": second["confirm"]}, signatures=signatures | {"confirm": others["confirm"]})
    said("hello: another persona", "Says", "SES-2", hello=write_message(**GOOD["hello"] | {"persona": did_of(_OTHER)}))
    said("call: another node", "Says", "SES-7", call=write_message(**GOOD["call"] | {"node": did_of(_OTHER)}))
    said("call: a version that the client does not have", "Says", "SES-7", call=write_message(**GOOD["call"] | {"version": 1}))
    said("confirm: a wider scope than wanted", "Says", "SES-8", confirm=write_message(**GOOD["confirm"] | {"scope": {"read": ["0xE:**"], "write": []}}))
    said("confirm: reads that were wanted as writes", "Says", "SES-8", confirm=write_message(**GOOD["confirm"] | {"scope": {"read": ["0xS:**"], "write": ["0xS:**"]}}))
    said("consent: none", "Says", "SES-6", consent=b'{"consents":false}')

    f.group("renewal")
    parties = Parties(_EXPORTER, _NODE, _PERSONA)
    signature = sign(_seed("persona"), "session-renew", parties.payload(renewal_hash(renew)))
    good = {"exporter": _EXPORTER, "node": _NODE, "persona": _PERSONA, "input": renew, "signature": signature}

    def renewal(comment, flag, expect="SES-9", **changed):
        f.case(f"renewal: {comment}", flag, expect, **(good | changed))
    renewal("as it should be", "Whole", "valid")
    renewal("another exporter value", "Parties", exporter=H(b"other exporter"))
    renewal("another node", "Parties", node=_OTHER)
    renewal("another persona", "Parties", persona=_OTHER)
    renewal("a space behind it", "Changed", input=renew + b" ")
    renewal("of another grant", "Changed", input=write_message(grant=b64(bytes(16))))
    renewal("as the first message of a transcript", "Step", signature=sign(_seed("persona"), "session-renew", parties.payload(transcript([renew])[0])))
    renewal("with the use of a consent", "Step", signature=sign(_seed("persona"), "session-consent", parties.payload(renewal_hash(renew))))
    renewal("of no grant", "Says", "SES-6", input=b'{"grant":"x"}')

    f.group("session-jti")
    for jti in (_GRANT, f"{_GRANT}.1760000000", f"{_GRANT}.0", b64(bytes(16))):
        f.case(f"jti {jti}", "Name", jti=jti)
    for jti in ("", "op.x", "op." + _GRANT, _GRANT[:-1], _GRANT + "A", _GRANT + "==", _GRANT[:-1] + "B", f"{_GRANT}.", f"{_GRANT}.01", f"{_GRANT}.-1", f"{_GRANT}.+1", f"{_GRANT}.1.2", f"{_GRANT}.x", f".{_GRANT}", f"{_GRANT} ", f" {_GRANT}.1", f"{_GRANT}:1", f"{_GRANT}.1 "):
        f.case(f"no jti of a session: {jti!r}", "Name", "SES-11?" if jti.startswith(f"{_GRANT}.") else "SES-6?", jti=jti)
    return f


def make_scope(File):
    f = File("scope",
             Element=("ESCALATION", "* stands for one element, and includes no **", "SES-8"),
             Tail=("ESCALATION", "** stands for one element or more", "SES-8"),
             Plain=("BASIC", "elements are equal or not", "SES-8"),
             Nested=("ESCALATION", "an opcode within is an element like others", "SES-8"),
             Offer=("BASIC", "what a node offers of its own and the wanted patterns", "SES-8"),
             Wider=("ESCALATION", "neither side gives more than it has", "SES-8"))
    f.group("includes")
    for flag, pairs in (("Plain", (("0xS:a", "0xS:a"), ("0xS:a", "0xS:b"), ("0xS:a", "0xE:a"), ("0xS:a", "0xS:a:b"), ("0xS:a:b", "0xS:a"), ("0xS:a", "0xS:A"))),
                        ("Element", (("0xS:*", "0xS:a"), ("0xS:*", "0xS:*"), ("0xS:*", "0xS:**"), ("0xS:a", "0xS:*"), ("0xS:*", "0xS:a:b"), ("0xS:*:b", "0xS:a:b"), ("0xS:*:b", "0xS:*:b"), ("0xS:*:b", "0xS:a:*"), ("0xS:a:*", "0xS:*:b"), ("0xS:*:*", "0xS:**"), ("0xS:*", "0xR:*"))),
                        ("Tail", (("0xS:**", "0xS:a"), ("0xS:**", "0xS:*"), ("0xS:**", "0xS:**"), ("0xS:**", "0xS:a:b:c"), ("0xS:**", "0xS:*:**"), ("0xS:*:**", "0xS:**"), ("0xS:*:**", "0xS:a"), ("0xS:*:**", "0xS:a:b"), ("0xS:a:**", "0xS:a"), ("0xS:a:**", "0xS:a:*"), ("0xS:a:**", "0xS:**"),
                                  ("0xS:a:**", "0xS:ab:c"), ("0xS:**", "0xE:**"), ("0xS:a:*", "0xS:a:**"), ("0xS:*:**", "0xS:a:**"), ("0xS:a:**", "0xS:*:**"))),
                        ("Nested", (("0xR:a:**", "0xR:a:0xS:b"), ("0xR:a:*:b", "0xR:a:0xS:b"), ("0xR:a:0xS:*", "0xR:a:0xS:b"), ("0xR:a:0xS:b", "0xR:a:*:b"), ("0xE:**", "0xE:0xR:a"), ("0xE:0xR:*", "0xE:*:a"), ("0xP:*:0xS:**", "0xP:a:0xS:b:c")))):
        for wide, narrow in pairs:
            f.case(f"{narrow} within {wide}", flag, wide=wide, narrow=narrow)
    f.group("offer")
    for comment, flag, own, wanted in (
            ("a part is wanted", "Offer", ["0xS:**"], ["0xS:a", "0xS:b:*"]), ("more is wanted", "Wider", ["0xS:a", "0xS:b:*"], ["0xS:**"]), ("both", "Offer", ["0xS:**", "0xR:a"], ["0xS:a", "0xR:**"]), ("the same", "Offer", ["0xS:**"], ["0xS:**"]),
            ("nothing in common", "Wider", ["0xS:**"], ["0xR:**"]), ("nothing is wanted", "Wider", ["0xS:**"], []), ("the node has nothing", "Wider", [], ["0xS:**"]), ("they overlap, and neither covers the other", "Wider", ["0xS:*:b"], ["0xS:a:*"]),
            ("one is covered, one is not", "Wider", ["0xS:a:**"], ["0xS:a:b", "0xS:c"]), ("** of another resource", "Wider", ["0xS:a:**"], ["0xS:b:**"]), ("one element is wanted of all", "Offer", ["0xS:**"], ["0xS:*"]), ("all is wanted, one element is there", "Wider", ["0xS:*"], ["0xS:**"]),
            ("wanted twice over", "Offer", ["0xS:**", "0xS:a"], ["0xS:a", "0xS:**"]), ("in pieces on both sides", "Offer", ["0xS:a", "0xE:**"], ["0xS:**", "0xE:x", "0xE:y"]), ("nested opcodes", "Offer", ["0xR:a:**"], ["0xR:a:0xS:b", "0xR:b:0xS:b"]),
            ("the greater of two own", "Wider", ["0xS:a", "0xS:a:**"], ["0xS:a:*", "0xS:a", "0xS:*"])):
        f.case(f"{comment}: {' '.join(own)} and {' '.join(wanted)}", flag, own=own, wanted=wanted)
    return f


def make_revoked(File):
    f = File("revoked",
             Line=("BASIC", "what is revoked", "SES-17"),
             Other=("AMBIGUITY", "no such line, or not in its one spelling", "SES-17 CNV-2 CNV-3 CNV-5"))
    f.group("revoked")
    did, time = did_of(_PERSONA), 1_760_000_000_000_000
    for comment, line in (("a grant", f"grant {_GRANT}\n"), ("a token", f"token op.{_GRANT} {time}\n"), ("a persona", f"persona {did} {time}\n"), ("a persona, at time 0", f"persona {did} 0\n"), ("a persona, at the latest time", f"persona {did} {TIME_END - 1}\n"),
                          ("a persona for good", f"stolen {did}\n")):
        f.case(comment, "Line", input=line.encode())
    for comment, line in (("nothing", ""), ("a line feed", "\n"), ("no line feed", f"grant {_GRANT}"), ("two lines", f"grant {_GRANT}\ngrant {_GRANT}\n"), ("an empty line behind", f"grant {_GRANT}\n\n"), ("a carriage return", f"grant {_GRANT}\r\n"), ("two spaces", f"grant  {_GRANT}\n"),
                          ("a space in front", f" grant {_GRANT}\n"), ("a space behind", f"grant {_GRANT} \n"), ("a tab", f"grant\t{_GRANT}\n"), ("in capitals", f"GRANT {_GRANT}\n"), ("another word", f"person {did} {time}\n"), ("a grant, padded", f"grant {_GRANT}==\n"), ("a grant, stray bits", f"grant {_GRANT[:-1]}B\n"),
                          ("a grant, too short", f"grant {_GRANT[:-1]}\n"), ("a grant and a time", f"grant {_GRANT} {time}\n"), ("a grant's token", f"token {_GRANT}.1760000000 {time}\n"), ("a token without a time", f"token op.{_GRANT}\n"), ("a token without a name", f"token {time}\n"),
                          ("a persona without a time", f"persona {did}\n"), ("a persona of another method", f"persona did:web:example.org {time}\n"), ("a time with a sign", f"persona {did} +{time}\n"), ("a time below 0", f"persona {did} -1\n"), ("a time with a zero in front", f"persona {did} 0{time}\n"),
                          ("a time in hexadecimal", f"persona {did} 0x10\n"), ("a time of 2^62", f"persona {did} {TIME_END}\n"), ("a time of 2^64", f"persona {did} {1 << 64}\n"), ("a token's time of 2^62", f"token op.{_GRANT} {TIME_END}\n"), ("a persona for good, with a time", f"stolen {did} {time}\n"), ("a persona for good, cut", f"stolen {did[:-1]}\n")):
        f.case(comment, "Other", "invalid", input=line.encode())
    f.case("not UTF-8", "Other", "invalid", input=b"grant \xff\n")
    return f


MAKERS = (make_session_message, make_session, make_scope, make_revoked)
__all__ = [name for name in globals() if name.startswith("run_")]
