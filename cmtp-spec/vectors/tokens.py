"""Chapter 10: tokens. The reader of one, and the cases of token.json."""
from __future__ import annotations

import base64
import json
import re

import ed25519
from base import BINDING, H, LIMIT, Malformed, require
from ed25519 import did_of, key_of_did, public_key
from fqmn import Pattern

NOW = 1_760_000_000


def read_token(text: str, root: bytes, keys: list[bytes], now: int) -> dict:
    """What a node with this root key and these token keys makes of a token, at `now` seconds since 1970."""
    require(len(text.encode()) <= LIMIT["token-max"], "ADM-5", "longer than token-max")
    parts = text.split(".")
    require(len(parts) == 3, "ADM-5", f"{len(parts)} parts")
    header, claims, signature = (_base64url(part) for part in parts)
    header = _members(_json(header), "alg typ kid")
    by_name = {did_of(key).removeprefix("did:key:"): key for key in keys}
    require(header["alg"] == BINDING["token-algorithm"] and header["typ"] == BINDING["token-type"], "ADM-1", "another alg or typ")
    require(isinstance(header["kid"], str) and header["kid"] in by_name, "ADM-1", "a kid that is none of the node's token keys")
    try:
        ed25519.verify_bytes(by_name[header["kid"]], ".".join(parts[:2]).encode(), signature)
    except Malformed:
        raise Malformed(None, "signed by another key") from None
    claims = _members(_json(claims), "iss aud sub iat nbf exp jti scope cnf")
    scope = _members(claims["scope"], "read write")
    jwk = _members(_members(claims["cnf"], "jwk")["jwk"], "kty crv x")
    for name in ("iss", "aud", "sub", "jti"):
        require(isinstance(claims[name], str), "ADM-2" if name == "aud" else "ADM-1", f"{name} is no text")
    for name in ("iat", "nbf", "exp"):
        require(type(claims[name]) is int and claims[name] >= 0, "ADM-1", f"{name} is no time in whole seconds")
    for name in ("read", "write"):
        require(isinstance(scope[name], list) and all(isinstance(one, str) for one in scope[name]), "ADM-1", f"{name} is no list of patterns")
    require(claims["iss"] == claims["aud"] == did_of(root), "ADM-2", "by or for another node")
    require(1 <= len(claims["jti"]) <= 64, "ADM-1", "jti is 1 to 64 characters")
    require(claims["exp"] - claims["iat"] <= LIMIT["token-lifetime-max"], "ADM-4", "too long a life")
    require(claims["iat"] <= claims["nbf"], "ADM-4", "valid before it was made")
    require(jwk["kty"] == "OKP" and jwk["crv"] == "Ed25519" and isinstance(jwk["x"], str), "ADM-1", "another kind of key")
    holder = _base64url(jwk["x"])
    require(key_of_did(claims["sub"]) == holder, "ADM-3", "cnf is not the key of sub")
    require(len(scope["read"]) + len(scope["write"]) <= LIMIT["scope-patterns-max"], "ADM-6", "too many patterns")
    for pattern in scope["read"] + scope["write"]:
        Pattern(pattern.encode())
    require(claims["nbf"] <= now < claims["exp"], "ADM-4", "not valid now")
    return {"holder": holder.hex(), "read": scope["read"], "write": scope["write"], "notBefore": claims["nbf"], "expires": claims["exp"]}


def _base64url(text: str) -> bytes:
    require(re.fullmatch("[A-Za-z0-9_-]*", text) and len(text) % 4 != 1, "ADM-5", "not base64url without padding")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    require(b64(data) == text, "ADM-5", "stray bits")
    return data


def _json(data: bytes) -> object:
    def once(pairs):
        require(len(dict(pairs)) == len(pairs), "ADM-1", "a member stands twice")
        return dict(pairs)

    try:
        return json.loads(data.decode(), object_pairs_hook=once, parse_constant=float)
    except ValueError:
        raise Malformed("ADM-1", "no JSON") from None


def _members(value: object, names: str) -> dict:
    require(isinstance(value, dict) and value.keys() == set(names.split()), "ADM-1", f"not an object of {names}")
    return value


# The cases


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def seed(label: str) -> bytes:
    return H(b"seed ", label.encode())


ROOT, CALLER, OTHER = (public_key(seed(label)) for label in ("root", "caller", "other"))
GROUP = {"seed": seed("root").hex(), "root": ROOT.hex(), "keys": [ROOT.hex()]}
NOTES = {
    "Good": ("BASIC", "a token that is accepted", "ADM-1 ADM-2 ADM-3 ADM-4 ADM-5 ADM-6"),
    "Header": ("KEY_CONFUSION", "a header that would choose another key or algorithm, or says more than it may", "ADM-1"),
    "Claims": ("CONFUSION", "claims that are missing, foreign, of another type or there twice", "ADM-1"),
    "OtherNode": ("CONFUSION", "a token by or for another node", "ADM-2"),
    "Holder": ("FORGERY", "a token whose key is not its subject's", "ADM-3"),
    "Times": ("EXPIRY", "a token outside of its times, or with too long a life", "ADM-4"),
    "Encoding": ("MALLEABILITY", "a second spelling of the same token", "ADM-5"),
    "Signature": ("FORGERY", "a signature by another key, or over something else", "ADM-1"),
    "Scope": ("ESCALATION", "too many patterns, or something that is none", "ADM-6"),
}


def header(**change) -> dict:
    return {"alg": "EdDSA", "typ": "cmtp+jwt", "kid": did_of(ROOT).removeprefix("did:key:")} | change


def claims(**change) -> dict:
    caller = {"kty": "OKP", "crv": "Ed25519", "x": b64(CALLER)}
    node = did_of(ROOT)
    return {"iss": node, "aud": node, "sub": did_of(CALLER), "cnf": {"jwk": caller}, "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 840, "jti": "op.x",
            "scope": {"read": ["0xS:**"], "write": []}} | change


def without(members: dict, name: str) -> dict:
    return {key: value for key, value in members.items() if key != name}


def text_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def token(head: object = None, body: object = None, key: bytes = seed("root")) -> str:
    signed = ".".join(b64(text_of(part).encode()) for part in (header() if head is None else head, claims() if body is None else body))
    return f"{signed}.{b64(ed25519.sign_bytes(key, signed.encode()))}"


def hs256(secret: bytes) -> str:
    import hmac
    signed = ".".join(b64(text_of(part).encode()) for part in (header(alg="HS256"), claims()))
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"


def stray(text: str) -> str:
    """The last digit with a bit that stands for nothing."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(text) % 4 in (2, 3)
    return text[:-1] + digits[digits.index(text[-1]) | 1]


def cases():
    """(comment, flag, what is expected, token, now)"""
    good = token()
    first, second, third = good.split(".")

    def case(comment, flag, expect="valid", text=good, now=NOW):
        return comment, flag, expect, text, now

    def head(comment, members, expect="ADM-1"):
        return case(comment, "Header", expect, token(members))

    def body(comment, flag, expect, now=NOW, **change):
        return case(comment, flag, expect, token(body=claims(**change)), now)

    def raw(comment, flag, expect, old, new):
        text = text_of(claims())
        assert old in text
        return case(comment, flag, expect, token(body=text.replace(old, new, 1)))
    node, patterns = did_of(ROOT), [f"0xS:a:{i}" for i in range(65)]
    own = {"kty": "OKP", "crv": "Ed25519", "x": b64(CALLER)}
    small = bytes(32)
    yield case("a token", "Good")
    yield body("the first second", "Good", "valid", now=NOW - 60)
    yield body("the last second", "Good", "valid", now=NOW + 839)
    yield body("the longest life", "Good", "valid", iat=NOW, nbf=NOW, exp=NOW + 900)
    yield body("made before it is valid", "Good", "valid", iat=NOW - 60, nbf=NOW - 10)
    yield body("64 patterns, reads and writes", "Good", "valid", scope={"read": patterns[:40], "write": patterns[40:64]})
    yield body("no pattern", "Good", "valid", scope={"read": [], "write": []})
    yield body("a jti of 64 characters", "Good", "valid", jti="op." + "x" * 61)
    yield body("a jti of 64 characters of two bytes", "Good", "valid", jti="op." + "é" * 61)
    yield case("white space, and members in another order", "Good", text=token(json.dumps(dict(reversed(header().items())), indent=1), json.dumps(claims(), indent=1)))
    yield raw("a name with an escape", "Good", "valid", '"iss"', '"\\u0069ss"')

    yield head("another member", header(x=1))
    yield head("jwk: a key of its own", header(jwk={"kty": "OKP", "crv": "Ed25519", "x": b64(OTHER)}))
    yield case("jwk, and signed by that key", "Header", "ADM-1", token(header(jwk={"kty": "OKP", "crv": "Ed25519", "x": b64(OTHER)}), key=seed("other")))
    yield head("jku", header(jku="https://evil.example/keys"))
    yield head("x5u", header(x5u="https://evil.example/keys"))
    yield head("x5c", header(x5c=["MII="]))
    yield head("crit", header(crit=["exp"]))
    yield head("b64", header(b64=False))
    yield head("typ is missing", without(header(), "typ"))
    yield head("typ JWT", header(typ="JWT"))
    yield head("typ in capitals", header(typ="CMTP+JWT"))
    yield head("typ with application/", header(typ="application/cmtp+jwt"))
    yield head("kid is missing", without(header(), "kid"))
    yield head("kid of another key", header(kid=did_of(OTHER).removeprefix("did:key:")))
    yield case("kid of another key, which signed", "Header", "ADM-1", token(header(kid=did_of(OTHER).removeprefix("did:key:")), key=seed("other")))
    yield head("kid is the DID", header(kid=node))
    yield head("kid is empty", header(kid=""))
    yield head("alg is missing", without(header(), "alg"))
    yield head("alg none", header(alg="none"))
    yield case("alg none, without a signature", "Header", "ADM-1", token(header(alg="none")).rsplit(".", 1)[0] + ".")
    yield case("alg HS256, the public key as the secret", "Header", "ADM-1", hs256(ROOT))
    yield case("alg HS256, the kid as the secret", "Header", "ADM-1", hs256(node.removeprefix("did:key:").encode()))
    yield head("alg ES256", header(alg="ES256"))
    yield head("alg RS256", header(alg="RS256"))
    yield head("alg Ed25519", header(alg="Ed25519"))
    yield head("alg in lower case", header(alg="eddsa"))
    yield head("alg twice", text_of(header()).replace("{", '{"alg":"none",', 1))
    yield head("the same alg twice", text_of(header()).replace("{", '{"alg":"EdDSA",', 1))
    yield head("a list", list(header().values()))
    yield head("a text", '"EdDSA"')
    yield head("null as typ", header(typ=None))
    yield head("no JSON", "EdDSA")
    yield head("something behind it", text_of(header()) + " {}")
    yield head("empty", "")

    yield case("signed by another key", "Signature", "invalid", token(key=seed("other")))
    yield case("signed by the caller", "Signature", "invalid", token(key=seed("caller")))
    yield case("no signature", "Signature", "invalid", f"{first}.{second}.")
    yield case("a signature of 63 bytes", "Signature", "invalid", f"{first}.{second}.{b64(_bytes(third)[:63])}")
    yield case("a signature of 65 bytes", "Signature", "invalid", f"{first}.{second}.{b64(_bytes(third) + bytes(1))}")
    yield case("one bit of R", "Signature", "invalid", f"{first}.{second}.{b64(_flip(_bytes(third), 0))}")
    yield case("one bit of S", "Signature", "invalid", f"{first}.{second}.{b64(_flip(_bytes(third), 40))}")
    large = int.from_bytes(_bytes(third)[32:], "little") + ed25519.ORDER
    yield case("S + L", "Signature", "invalid", f"{first}.{second}.{b64(_bytes(third)[:32] + large.to_bytes(32, 'little'))}")
    yield case("another token's claims", "Signature", "invalid", f"{first}.{token(body=claims(jti='op.y')).split('.')[1]}.{third}")
    yield case("signed with the prefix of chapter 5", "Signature", "invalid", f"{first}.{second}.{b64(ed25519.sign(seed('root'), 'auth', f'{first}.{second}'.encode()))}")

    yield case("two parts", "Encoding", "ADM-5", f"{first}.{second}")
    yield case("four parts", "Encoding", "ADM-5", f"{good}.")
    yield case("five parts", "Encoding", "ADM-5", f"{good}.x.y")
    yield case("empty", "Encoding", "ADM-5", "")
    yield case("a padded signature", "Encoding", "ADM-5", good + "==")
    yield case("stray bits in the signature", "Encoding", "ADM-5", f"{first}.{second}.{stray(third)}")
    yield case("base64 with + and /", "Encoding", "ADM-5", f"{first}.{second}.+/{third[2:]}")
    yield case("a space before it", "Encoding", "ADM-5", " " + good)
    yield case("a line feed behind it", "Encoding", "ADM-5", good + "\n")
    yield case("a zero byte", "Encoding", "ADM-5", good + "\0")
    yield case("the JSON form", "Encoding", "ADM-5", json.dumps({"payload": second, "signatures": [{"protected": first, "signature": third}]}))
    for comment, expect, size in (("token-max bytes", "valid", 4096), ("a byte above token-max", "ADM-5", 4097)):
        yield case(comment, "Good" if expect == "valid" else "Encoding", expect, _of_size(size))

    for name in claims():
        yield case(f"{name} is missing", "Claims", "ADM-1", token(body=without(claims(), name)))
        yield body(f"{name} is null", "OtherNode" if name == "aud" else "Claims", "ADM-2?" if name == "aud" else "ADM-1", **{name: None})
    yield body("another claim", "Claims", "ADM-1", admin=True)
    yield body("a claim of OpenID Connect", "Claims", "ADM-1", nonce="x")
    yield raw("jti twice", "Claims", "ADM-1", '"jti":"op.x"', '"jti":"op.x","jti":"op.x"')
    yield raw("exp twice", "Claims", "ADM-1", '"iss"', f'"exp":{NOW + 840},"iss"')
    yield raw("scope twice", "Claims", "ADM-1", '"scope"', '"scope":{"read":["0xS:**"],"write":["0xS:**"]},"scope"')
    yield raw("exp twice, once with an escape", "Claims", "ADM-1", '"iss"', f'"e\\u0078p":{NOW + 840},"iss"')
    yield raw("read twice", "Claims", "ADM-1", '"read"', '"read":[],"read"')
    yield raw("x twice", "Claims", "ADM-1", '"kty"', f'"x":"{b64(CALLER)}","kty"')
    yield case("a list", "Claims", "ADM-1", token(body=[claims()[name] for name in "iss aud sub iat nbf exp jti scope cnf".split()]))
    yield body("scope as a list", "Claims", "ADM-1", scope=[["0xS:**"], []])
    yield body("cnf as a list", "Claims", "ADM-1", cnf=[own])
    yield body("cnf's jwk as a list", "Claims", "ADM-1", cnf={"jwk": list(own.values())})
    yield body("scope as a text", "Claims", "ADM-1", scope="0xS:**")
    yield body("read as a text", "Claims", "ADM-1", scope={"read": "0xS:**", "write": []})
    yield body("a number as a pattern", "Claims", "ADM-1", scope={"read": [1], "write": []})
    yield body("scope without write", "Claims", "ADM-1", scope={"read": []})
    yield body("scope with another list", "Claims", "ADM-1", scope={"read": [], "write": [], "admin": []})
    yield body("cnf with jkt, too", "Claims", "ADM-1", cnf={"jwk": own, "jkt": "x"})
    yield body("a key with kid", "Claims", "ADM-1", cnf={"jwk": own | {"kid": "x"}})
    yield body("a key with its secret", "Claims", "ADM-1", cnf={"jwk": own | {"d": b64(seed("caller"))}})
    yield body("an empty jti", "Claims", "ADM-1", jti="")
    yield body("a jti of 65 characters", "Claims", "ADM-1", jti="op." + "x" * 62)
    yield body("jti is a number", "Claims", "ADM-1", jti=1)
    for name in ("iat", "nbf", "exp"):
        yield body(f"{name} with a fraction", "Claims", "ADM-1", **{name: claims()[name] + 0.5})
        yield raw(f"{name} with a fraction of 0", "Claims", "ADM-1", f'"{name}":{claims()[name]}', f'"{name}":{claims()[name]}.0')
        yield body(f"{name} is a text", "Claims", "ADM-1", **{name: str(claims()[name])})
    yield raw("exp in exponents", "Claims", "ADM-1", f'"exp":{NOW + 840}', '"exp":1.76e9')
    yield body("negative times", "Claims", "ADM-1", iat=-900, nbf=-900, exp=-1)
    yield body("exp of 2^64", "Claims Times", "ADM-4?", exp=1 << 64)
    yield body("iat before 1970", "Claims", "ADM-1", iat=-1)

    yield body("iss of another node", "OtherNode", "ADM-2", iss=did_of(OTHER))
    yield body("aud of another node", "OtherNode", "ADM-2", aud=did_of(OTHER))
    yield body("aud as a list", "OtherNode", "ADM-2?", aud=[node])
    yield body("aud as a list of two", "OtherNode", "ADM-2?", aud=[node, did_of(OTHER)])
    yield body("iss is the multibase name", "OtherNode", "ADM-2", iss=node.removeprefix("did:key:"))
    yield body("aud is empty", "OtherNode", "ADM-2", aud="")
    yield body("iss with a fragment", "OtherNode", "ADM-2", iss=f"{node}#key")

    yield body("cnf of another key", "Holder", "ADM-3", cnf={"jwk": own | {"x": b64(OTHER)}})
    yield body("sub of another key", "Holder", "ADM-3", sub=did_of(OTHER))
    yield body("a key of another type", "Holder", "ADM-1?", cnf={"jwk": own | {"kty": "EC"}})
    yield body("a key of another curve", "Holder", "ADM-1?", cnf={"jwk": own | {"crv": "X25519"}})
    yield body("a key of 31 bytes", "Holder", "ADM-3?", cnf={"jwk": own | {"x": b64(CALLER[:31])}})
    yield body("a padded key", "Holder", "ADM-5?", cnf={"jwk": own | {"x": b64(CALLER) + "="}})
    yield body("a key with stray bits", "Holder", "ADM-5?", cnf={"jwk": own | {"x": stray(b64(CALLER))}})
    yield body("a key of small order", "Holder", "CNV-3", sub=did_of(small), cnf={"jwk": own | {"x": b64(small)}})
    yield body("sub is no DID", "Holder", "CNV-3", sub="alice")
    yield body("sub with a fragment", "Holder", "CNV-3", sub=did_of(CALLER) + "#x")

    yield body("expired this second", "Times", "ADM-4", exp=NOW)
    yield body("expired a second ago", "Times", "ADM-4", exp=NOW - 1)
    yield body("not valid for a second", "Times", "ADM-4", nbf=NOW + 1)
    yield body("never valid", "Times", "ADM-4", nbf=NOW + 840)
    yield body("a life of 901 seconds", "Times", "ADM-4", iat=NOW - 61)
    yield body("a life without end", "Times", "ADM-4", exp=(1 << 53) - 1)
    yield body("iat after nbf", "Times", "ADM-4", iat=NOW - 59)
    yield body("over before it was made", "Times", "ADM-4", iat=NOW + 841, nbf=NOW + 841)
    yield body("long ago", "Times", "ADM-4", iat=0, nbf=0, exp=900)

    yield body("65 patterns", "Scope", "ADM-6", scope={"read": patterns[:40], "write": patterns[40:]})
    yield body("65 times the same pattern", "Scope", "ADM-6", scope={"read": ["0xS:a"] * 65, "write": []})
    yield body("no pattern: half an element", "Scope", "FQN-1?", scope={"read": ["0xS:a*"], "write": []})
    yield body("no pattern: ** within", "Scope", "invalid", scope={"read": ["0xS:**:a"], "write": []})
    yield body("no pattern: a write form", "Scope", "invalid", scope={"read": [], "write": ["0xSW:a"]})
    yield body("no pattern: arguments", "Scope", "invalid", scope={"read": ["0xS:a:[]"], "write": []})
    yield body("no pattern: * alone", "Scope", "FQN-2?", scope={"read": ["*"], "write": []})
    yield body("no pattern: nothing", "Scope", "FQN-2?", scope={"read": [""], "write": []})
    yield body("a good pattern and a bad one", "Scope", "FQN-3?", scope={"read": ["0xS:a", "0xZ:a"], "write": []})


def _of_size(size: int) -> str:
    """A token of so many bytes: its claims grow by a pattern, and its header by white space, so that each size can be had."""
    def parts(pattern: int, space: int) -> tuple[str, str]:
        scope = {"read": ["0xS:" + "a" * 800, "0xS:" + "b" * 800, "0xS:" + "c" * pattern], "write": []}
        return text_of(header()) + " " * space, text_of(claims(scope=scope))
    signature = 88                     # with the two dots
    made = (parts(pattern, space) for pattern in range(1, 1000) for space in range(4))
    return next(token(*two) for two in made if sum(len(b64(part.encode())) for part in two) + signature == size)


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
