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
    within(len(data), "session-message-max", "SES-6")
    text = decode_utf8(data, "SES-6")
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_int=_digits, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed("SES-6", str(error)) from None
    return _object(value, FORMS[kind], _OPTIONAL.get(kind, ()))


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
    text = decode_utf8(data, None)
    require(text.endswith("\n"), None, "no line feed at the end")
    match text[:-1].split(" "):
        case ["grant", grant]:
            return {"kind": "grant", "grant": _grant(grant)}
        case ["token", jti, time]:
            require(jti.startswith(BINDING["operator-token-prefix"]), None, "not a token of the operator's")
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
