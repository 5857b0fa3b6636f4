"""Chapter 5: strict Ed25519 after RFC 8032, slow and not constant in time: for test vectors, not for secrets. And did:key (chapter 1)."""
from __future__ import annotations

import hashlib

from base import BINDING, Malformed, require

P = 2 ** 255 - 19
ORDER = 2 ** 252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, P) % P
_SQRT_M1 = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]    # X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z
NEUTRAL: Point = (0, 1, 1, 0)


def add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * _D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar: int, point: Point) -> Point:
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def encode_point(point: Point) -> bytes:
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode_point(data: bytes) -> Point:
    """A canonical encoding of a point."""
    require(len(data) == 32, None, "a key is 32 bytes")
    number = int.from_bytes(data, "little")
    sign_bit, y = number >> 255, number & (1 << 255) - 1
    require(y < P, "SIG-2", "y is not below p")
    square = (y * y - 1) * pow(_D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * _SQRT_M1 % P
    require(x * x % P == square, "SIG-2", "not a point of the curve")
    require(x or not sign_bit, "SIG-2", "x is 0 and the sign bit is set")
    x = P - x if x & 1 != sign_bit else x
    return x, y, 1, x * y % P


def decode_key(key: bytes) -> Point:
    point = decode_point(key)
    require(encode_point(multiply(8, point)) != encode_point(NEUTRAL), "SIG-3", "a key of small order")
    return point


BASE = decode_point(bytes.fromhex("58" + "66" * 31))


def _sha512(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def signed_bytes(use: str, payload: bytes) -> bytes:
    return BINDING["signature-prefix"].encode() + use.encode() + b"\0" + payload


def _expand(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    return int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254, digest[32:]


def public_key(seed: bytes) -> bytes:
    return encode_point(multiply(_expand(seed)[0], BASE))


def sign(seed: bytes, use: str, payload: bytes) -> bytes:
    return sign_bytes(seed, signed_bytes(use, payload))


def sign_bytes(seed: bytes, message: bytes) -> bytes:
    scalar, prefix = _expand(seed)
    key = encode_point(multiply(scalar, BASE))
    r = _sha512(prefix, message) % ORDER
    R = encode_point(multiply(r, BASE))
    return R + ((r + _sha512(R, key, message) * scalar) % ORDER).to_bytes(32, "little")


def verify_signature(key: bytes, use: str, payload: bytes, signature: bytes) -> None:
    verify_bytes(key, signed_bytes(use, payload), signature)


def verify_bytes(key: bytes, message: bytes, signature: bytes) -> None:
    require(len(signature) == 64, None, "a signature is 64 bytes")
    R, S = signature[:32], int.from_bytes(signature[32:], "little")
    require(S < ORDER, "SIG-1", "S is not below the order")
    x, y, z, t = decode_key(key)
    k = _sha512(R, key, message) % ORDER
    expected = add(multiply(S, BASE), multiply(k, (P - x, y, z, P - t)))
    require(encode_point(expected) == R, "SIG-4", "a wrong signature")


# did:key

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DID_PREFIX, _ED25519_PUB = "did:key:z", b"\xed\x01"


def did_of(key: bytes) -> str:
    number, text = int.from_bytes(_ED25519_PUB + key, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return _DID_PREFIX + text


def key_of_did(did: str) -> bytes:
    require(did.startswith(_DID_PREFIX), "CNV-3", "not a did:key in base58btc")
    number = 0
    for character in did.removeprefix(_DID_PREFIX):
        require(character in _BASE58, "CNV-3", "not base58btc")
        number = number * 58 + _BASE58.index(character)
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    require(data[:2] == _ED25519_PUB and len(data) == 34, "CNV-3", "not an Ed25519 key")
    require(did_of(data[2:]) == did, "CNV-3", "a second spelling")        # leading '1's
    try:
        decode_key(data[2:])
    except Malformed as error:
        raise Malformed("CNV-3", f"a key that chapter 5 refuses: {error}") from None
    return data[2:]
