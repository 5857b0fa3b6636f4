"""HPKE (RFC 9180), base mode, one message: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. Written out from RFC 9180, 7748 and 8439."""
from __future__ import annotations

import hmac
from itertools import count

P = 2 ** 255 - 19
_KEM = b"KEM" + b"\x00\x20"
_SUITE = b"HPKE" + b"\x00\x20" + b"\x00\x01" + b"\x00\x03"


def x25519(scalar: bytes, point: bytes = b"\x09" + bytes(31)) -> bytes:
    """RFC 7748 section 5."""
    k = int.from_bytes(scalar, "little") & ~7 & (1 << 255) - 1 | 1 << 254
    x1 = int.from_bytes(point, "little") % (1 << 255) % P
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in reversed(range(255)):
        now = k >> bit & 1
        if swap ^ now:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3, x2, z2 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P, aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def _extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, "sha256")


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    info, out, block = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, b"", b""
    for i in count(1):
        if len(out) >= size:
            return out[:size]
        block = hmac.digest(key, block + info + bytes([i]), "sha256")
        out += block


def _schedule(shared: bytes, kem_context: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and nonce of the first message: sections 4.1 and 5.1."""
    secret = _expand(_KEM, _extract(_KEM, b"", b"eae_prk", shared), b"shared_secret", kem_context, 32)
    context = b"\0" + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
    secret = _extract(_SUITE, secret, b"secret", b"")
    return _expand(_SUITE, secret, b"key", context, 32), _expand(_SUITE, secret, b"base_nonce", context, 12)


def _block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439 section 2.3."""
    words = [int.from_bytes(part, "little") for part in (
        b"expa", b"nd 3", b"2-by", b"te k", *(key[i:i + 4] for i in range(0, 32, 4)), counter.to_bytes(4, "little"), *(nonce[i:i + 4] for i in range(0, 12, 4)))]
    state = words[:]

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, by in (a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7):
            state[x] = state[x] + state[y] & 0xffffffff
            mixed = state[z] ^ state[x]
            state[z] = (mixed << by | mixed >> 32 - by) & 0xffffffff
    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return b"".join((a + b & 0xffffffff).to_bytes(4, "little") for a, b in zip(state, words))


def _xor(key: bytes, nonce: bytes, data: bytes) -> bytes:
    stream = b"".join(_block(key, 1 + i, nonce) for i in range(-(-len(data) // 64)))
    return bytes(a ^ b for a, b in zip(data, stream))


def _tag(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """RFC 8439 sections 2.5 and 2.8."""
    one_time = _block(key, 0, nonce)
    r, s = int.from_bytes(one_time[:16], "little") & 0x0ffffffc0ffffffc0ffffffc0fffffff, int.from_bytes(one_time[16:32], "little")
    data = b"".join(part + bytes(-len(part) % 16) for part in (aad, ciphertext)) + len(aad).to_bytes(8, "little") + len(ciphertext).to_bytes(8, "little")
    sum = 0
    for i in range(0, len(data), 16):
        sum = (sum + int.from_bytes(data[i:i + 16] + b"\1", "little")) * r % (2 ** 130 - 5)
    return (sum + s & (1 << 128) - 1).to_bytes(16, "little")


def seal(public: bytes, ephemeral: bytes, info: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """`enc` and ciphertext for a public key; `ephemeral` is the secret that a real sender draws at random."""
    enc = x25519(ephemeral)
    key, nonce = _schedule(x25519(ephemeral, public), enc + public, info)
    ciphertext = _xor(key, nonce, plaintext)
    return enc, ciphertext + _tag(key, nonce, aad, ciphertext)


def open_sealed(secret: bytes, enc: bytes, info: bytes, aad: bytes, sealed: bytes) -> bytes | None:
    """The plaintext, or None where it does not open."""
    shared = x25519(secret, enc)
    if shared == bytes(32):
        return None
    key, nonce = _schedule(shared, enc + x25519(secret), info)
    ciphertext, tag = sealed[:-16], sealed[-16:]
    return _xor(key, nonce, ciphertext) if hmac.compare_digest(tag, _tag(key, nonce, aad, ciphertext)) else None
