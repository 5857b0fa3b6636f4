"""Chapter 21: roots, personas, words, revocation statements; and the cases of identity.json.

`bip39-english.txt` is the English list of BIP-39 as its repository (github.com/bitcoin/bips, bip-0039/english.txt, MIT licence) has it.
"""
from __future__ import annotations

import base64
import hmac
import json
import re

from base import *
from ed25519 import did_of, key_of_did, public_key, sign, verify_signature

WORDS = (Path(__file__).resolve().parent / "bip39-english.txt").read_text().split()
_EXACT = 1 << 53                     # integers below it are exact in every reader of JSON

# --- what the chapter says ------------------------------------------------------------------------------------------------


def hkdf(salt: bytes, ikm: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, 32 bytes: one block."""
    return hmac.digest(hmac.digest(salt, ikm, "sha256"), info + b"\1", "sha256")


def derived(root: bytes, info: str, number: int) -> bytes:
    return hkdf(BINDING["identity-salt"].encode(), root, BINDING[info].encode() + u(number, 32))


def commitment_of(recovery_key: bytes) -> bytes:
    return H(TAG["recovery-key"], recovery_key)


def words_of(root: bytes) -> str:
    """BIP-39: the entropy and the first bits of its hash, in runs of 11 bits."""
    bits = int.from_bytes(root + H(root)[:1], "big")
    return " ".join(WORDS[bits >> 11 * at & 0x7ff] for at in reversed(range(24)))


def root_of(text: str) -> bytes:
    words = re.findall("[^ \t\n\r]+", text)
    require(len(words) == 24, "IDY-3", f"{len(words)} words")
    bits = 0
    for word in words:
        lower = "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in word)
        require(lower in WORDS, "IDY-3", f"{word} is not in the list")
        bits = bits << 11 | WORDS.index(lower)
    root = (bits >> 8).to_bytes(32, "big")
    require(bits & 0xff == H(root)[0], "IDY-3", "another checksum")
    return root


def statement(persona: bytes, not_before: int) -> bytes:
    return persona + u(not_before, 64)


def read_statement(text: str) -> tuple[bytes, int, bytes, bytes]:
    """Persona, not-before, recovery key, signature."""
    require(len(text.encode()) <= LIMIT["revocation-max"], "IDY-6", "too long")

    def once(pairs):
        require(len({name for name, _ in pairs}) == len(pairs), "IDY-6", "a member twice")
        return dict(pairs)

    def digits(text):
        require(text.isdigit(), "IDY-6", "a sign")
        return int(text)

    def none(text):
        raise Malformed("IDY-6", f"{text} is no JSON")
    try:
        found = json.loads(text, object_pairs_hook=once, parse_int=digits, parse_constant=none)
    except (ValueError, RecursionError) as error:
        raise Malformed("IDY-6", str(error)) from None
    require(isinstance(found, dict) and found.keys() == {"did", "notBefore", "recoveryKey", "signature"}, "IDY-6", "other members")
    did, time, key, signature = found["did"], found["notBefore"], found["recoveryKey"], found["signature"]
    require(all(isinstance(text, str) for text in (did, key, signature)), "IDY-6", "a member that is no text")
    require(type(time) is int and time < _EXACT, "IDY-6", "a time that is none")
    require(re.fullmatch("[A-Za-z0-9_-]{86}", signature), "IDY-6", "not base64url of 64 bytes")
    data = base64.urlsafe_b64decode(signature + "==")
    require(base64.urlsafe_b64encode(data).decode().rstrip("=") == signature, "IDY-6", "bits are left over")
    return key_of_did(did), time, key_of_did(key), data


# --- computing a case -----------------------------------------------------------------------------------------------------


def run_persona(group, case):
    seed, recovery = (derived(case["root"], info, case["number"]) for info in ("persona-info", "recovery-info"))
    key, recovery_key = public_key(seed), public_key(recovery)
    return {"seed": seed.hex(), "key": key.hex(), "did": did_of(key), "recoverySeed": recovery.hex(), "recoveryKey": recovery_key.hex(),
            "commitment": commitment_of(recovery_key).hex()}


def run_words(group, case):
    root = root_of(case["words"])
    return {"root": root.hex(), "written": words_of(root)}


def run_revoke(group, case):
    persona = public_key(derived(case["root"], "persona-info", case["number"]))
    recovery = derived(case["root"], "recovery-info", case["number"])
    signed = statement(persona, case["notBefore"])
    return {"persona": persona.hex(), "recoveryKey": public_key(recovery).hex(), "payload": signed.hex(), "signature": sign(recovery, "revoke", signed).hex()}


def run_revocation(group, case):
    persona, time, recovery_key, signature = read_statement(case["input"])
    require(commitment_of(recovery_key) == case["commitment"], "IDY-5", "another recovery key than the persona committed to")
    try:
        verify_signature(recovery_key, "revoke", statement(persona, time), signature)
    except Malformed as error:
        raise Malformed("IDY-5", str(error)) from None
    return {"persona": persona.hex(), "notBefore": time, "recoveryKey": recovery_key.hex()}


# --- the cases ------------------------------------------------------------------------------------------------------------


def make_identity(File):
    f = File("identity",
             Valid=("BASIC", "what a root brings", "IDY-2 IDY-3 IDY-4 IDY-5 IDY-6"),
             Numbers=("CONFUSION", "another number, root or purpose is another key", "IDY-2 IDY-4"),
             Spelling=("AMBIGUITY", "words in other letters and with other white space", "IDY-3"),
             Words=("AMBIGUITY", "words that are no root", "IDY-3"),
             Text=("AMBIGUITY", "a text that does not say one thing", "IDY-6 CNV-3"),
             Forged=("FORGERY", "a statement that the recovery key did not make", "IDY-5"))
    roots = [H(b"root ", bytes([at])) for at in range(3)]
    edges = [bytes(32), b"\xff" * 32, b"\x7f" * 32, b"\x80" * 32]

    f.group("persona")
    for root in (roots[0], roots[1], *edges[:2]):
        for number in (0, 1, 2, 255, 256, (1 << 32) - 1) if root == roots[0] else (0, 1):
            f.case(f"persona {number}", "Valid Numbers", root=root, number=number)

    f.group("words")
    for root in (*roots, *edges):
        f.case("24 words", "Valid", words=words_of(root))
    good = words_of(roots[0])
    words = good.split()
    for comment, text in (("upper case", good.upper()), ("capitals", good.title()), ("lines", "\n".join(words) + "\n"), ("carriage returns", "\r\n".join(words) + "\r\n"),
                          ("tabs and runs of spaces", " \t" + " \t ".join(words) + "  ")):
        f.case(comment, "Spelling", words=text)
    other = next(word for word in WORDS if words_fit(words[:-1] + [word]) is False)
    for comment, text in (("nothing", ""), ("23 words", " ".join(words[:-1])), ("25 words", f"{good} {words[0]}"), ("48 words", f"{good} {good}"),
                          ("12 words that BIP-39 takes", " ".join(["abandon"] * 11 + ["about"])), ("another last word", " ".join(words[:-1] + [other])),
                          ("two words changed places", " ".join([words[1], words[0], *words[2:]])), ("a word that is not in the list", " ".join(["cmtp", *words[1:]])),
                          ("the beginning of a word", " ".join([words[0][:4] if words[0][:4] not in WORDS else words[0][:3], *words[1:]])),
                          ("a word of another list", " ".join(["ab\u00e1aco", *words[1:]])), ("a letter of another alphabet", " ".join(["\u0430bandon", *words[1:]])),
                          ("commas", ", ".join(words)), ("a no-break space", "\u00a0".join(words)), ("a zero byte", good + "\0")):
        f.case(comment, "Words", "IDY-3", words=text)

    f.group("revoke")
    time = 1_760_000_000_000_000
    for root, number, at in ((roots[0], 0, time), (roots[0], 1, time), (roots[1], 0, 0), (roots[1], 7, _EXACT - 1)):
        f.case(f"persona {number}", "Valid", root=root, number=number, notBefore=at)

    f.group("revocation")
    recovery = derived(roots[0], "recovery-info", 0)
    persona, key = public_key(derived(roots[0], "persona-info", 0)), public_key(recovery)
    commitment = commitment_of(key)

    def signed(persona=persona, at=time, seed=recovery, use="revoke") -> str:
        return base64.urlsafe_b64encode(sign(seed, use, statement(persona, at))).decode().rstrip("=")
    parts = {"did": did_of(persona), "notBefore": time, "recoveryKey": did_of(key), "signature": signed()}

    def case(comment, flag, expect="valid", text=None, commitment=commitment, **changed):
        made = {name: value for name, value in (parts | changed).items() if value is not None}
        f.case(comment, flag, expect, input=json.dumps(made) if text is None else text, commitment=commitment)
    text = json.dumps(parts)
    case("a statement", "Valid")
    case("members in another order, and white space", "Valid", text="\n" + json.dumps(dict(reversed(parts.items())), indent=2) + "\n")
    case("letters escaped", "Valid", text=text.replace('"did"', '"\\u0064id"'))
    case("time 0", "Valid", notBefore=0, signature=signed(at=0))
    case("the latest time", "Valid", notBefore=_EXACT - 1, signature=signed(at=_EXACT - 1))
    case("as long as may be", "Valid", text=text + " " * (LIMIT["revocation-max"] - len(text)))
    case("longer", "Text", "IDY-6", text=text + " " * (LIMIT["revocation-max"] + 1 - len(text)))
    for name in parts:
        case(f"no {name}", "Text", "IDY-6", **{name: None})
        case(f"{name} twice", "Text", "IDY-6", text=text[:-1] + f', "{name}": {json.dumps(parts[name])}}}')
        case(f"{name} is null", "Text", "IDY-6", text=json.dumps(parts | {name: None}))
    case("another member", "Text", "IDY-6", note="")
    case("nothing", "Text", "IDY-6", text="")
    case("a list", "Text", "IDY-6", text=f"[{text}]")
    case("two statements", "Text", "IDY-6", text=text + text)
    case("cut", "Text", "IDY-6", text=text[:-1])
    for comment, at in (("time 2^53", str(_EXACT)), ("a negative time", "-1"), ("minus zero", "-0"), ("a fraction", f"{time}.0"), ("an exponent", "1e15"), ("a text", f'"{time}"'),
                        ("a zero in front", f"0{time}"), ("true", "true"), ("not a number", "NaN")):
        case(f"the time: {comment}", "Text", "IDY-6", text=text.replace(str(time), at))
    case("a signature of 63 bytes", "Text", "IDY-6", signature=signed()[:84])
    case("padding", "Text", "IDY-6", signature=signed() + "==")
    plain = signed()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    case("bits left over", "Text", "IDY-6", signature=plain[:-1] + last[last.index(plain[-1]) + 1])
    case("hexadecimal", "Text", "IDY-6", signature=base64.urlsafe_b64decode(plain + "==").hex())
    case("a DID of another method", "Text", "CNV-3", did="did:web:example.com")
    case("a key that is none", "Text", "CNV-3", recoveryKey="did:key:z6Mk")
    case("another commitment", "Forged", "IDY-5", commitment=commitment_of(public_key(derived(roots[0], "recovery-info", 1))))
    case("the key itself as commitment", "Forged", "IDY-5", commitment=key)
    case("by the persona's own key", "Forged", "IDY-5", signature=signed(seed=derived(roots[0], "persona-info", 0)))
    case("by the persona's own key, which is named", "Forged", "IDY-5", recoveryKey=did_of(persona), signature=signed(seed=derived(roots[0], "persona-info", 0)))
    case("for another persona", "Forged", "IDY-5", signature=signed(persona=public_key(derived(roots[0], "persona-info", 1))))
    case("for another time", "Forged", "IDY-5", notBefore=time + 1)
    case("for another use", "Forged", "IDY-5", signature=signed(use="layer"))
    return f


def words_fit(words: list[str]) -> bool:
    try:
        root_of(" ".join(words))
    except Malformed:
        return False
    return True
