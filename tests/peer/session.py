#!/usr/bin/env python3
"""A persona that opens a session with a node, written from chapter 22 of cmtp-spec alone, as an example for implementers.

    session.py HOST PORT --pin DID --seed HEX TARGET [--want SCOPE] [--recovery HEX] [--keep]

Opens a session, calls TARGET with the token, sends the consent again, renews the token, calls with that one, lists the persona's grants,
hangs up, and tries each of these once more. Prints one JSON object: what came of it, of calls the status. `--want` is a scope as a token
has it, in JSON: what is asked for at most. `--recovery` is the commitment of chapter 21. With `--keep` nothing is hung up.
Exit status: 0 done, 1 the node refused, 2 no answer that verifies.

It is a user of client.py: here is what a session needs beside single exchanges.
"""
from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import ssl
import sys
from dataclasses import dataclass

from client import *
# client.py puts the folder of the specification's reader in front: this is its session.py.
from session import (SIGNERS, Parties, b64, did_of, includes, name_of, read_message, renewal_hash, transcript, unb64,
                     verify_signature, write_message)


class Refused(Exception):
    """The node's last layer refuses."""

    def __init__(self, status: int, last: Layer):
        remedy, detail = ((last.get(name) or b"-").decode() for name in ("remedy", "detail"))            # [STA-1]
        super().__init__(f"{status}, remedy {remedy}: {detail}")
        self.status = status


@dataclass
class Session:
    """A grant and the caller who shows its newest token."""
    grant: str
    ends: int
    claims: dict
    caller: Caller
    offer: dict


class Persona:
    """A persona on one connection to a node."""

    def __init__(self, connection: Connection, keys: KeyList, seed: bytes):
        self.connection, self.keys, self.seed = connection, keys, seed
        self.caller = Caller(seed, None)
        self.parties = Parties(connection.session_value, keys.root, self.caller.key)

    async def send(self, target: str, body: bytes | None, literal: dict[str, bytes], caller: Caller | None = None, args: str | None = None) -> Layer:
        """One exchange; the serve layer of its answer. It is sent without AUTH unless `caller` has a token [SES-1], and its actor is
        the persona [SES-2]."""
        caller = caller or self.caller
        fields = [Field(name, value) for name, value in literal.items()]
        origin = make_origin(caller, self.keys.root, target, args, body, fields)
        message, _ = await call(self.connection, self.keys, caller, origin)
        status, last = message_status(message.layers), message.layers[-1]
        if status >= 400:
            raise Refused(status, last)
        # [SES-3] What was done is in the node's log, and nothing else of the handshake.
        done = target.startswith("0xIW:") or caller.token is not None
        require((message.seal.receipt is not None) == done, "SES-3", f"{target} is journalled, or is not")
        require(not target.startswith("0xIW:") or message.seal.receipt.mode == MODE["wal"], "SES-3", "journalled in another mode")
        return next(layer for layer in message.layers if layer.step == STEP["serve"])

    def signature(self, step: str, hash: bytes) -> bytes:
        return self.caller.sign(f"session-{step}", self.parties.payload(hash))

    def check(self, step: str, layer: Layer, hash: bytes) -> None:
        """The node's signature [SES-9]."""
        require(SIGNERS[step] == "node", None, step)
        signature, failed = layer.get(BINDING["session-signature"]) or b"", None
        for key in self.keys.valid("token", now()):
            try:
                return verify_signature(key, f"session-{step}", self.parties.payload(hash), signature)
            except Malformed as error:
                failed = error
        raise Unverified(f"[SES-9] {step}: {failed}")

    async def open(self, want: dict | None, recovery: bytes | None) -> Session:
        messages = [write_message(versions=[0], persona=did_of(self.caller.key), nonce=b64(secrets.token_bytes(32)))]
        layer = await self.send(BINDING["session-hello"], messages[0], {})
        messages.append(layer.body)
        self.check("call", layer, transcript(messages)[-1])
        asked = read_message("call", layer.body)
        require(asked["version"] == 0 and asked["node"] == self.keys.root, "SES-7", "another version, or another node")
        gives = {"recovery": recovery}
        require(all(gives.get(ask["what"]) for ask in asked["asks"] if ask["required"]), "SES-7", "something is required that is not given")

        wanted = {"scope": want} if want else {}
        messages.append(write_message(**wanted, **({"recovery": b64(recovery)} if recovery else {})))
        layer = await self.send(BINDING["session-answer"], messages[2], self.proof("answer", messages, layer))
        messages.append(layer.body)
        self.check("confirm", layer, transcript(messages)[-1])
        offer = read_message("confirm", layer.body)
        for form, patterns in offer["scope"].items():                                                    # [SES-8]
            require(not want or all(any(includes(wide, one) for wide in want[form]) for one in patterns), "SES-8", "a wider scope is offered")

        # [SES-19] Whoever ran this consented.
        messages.append(write_message(consents=True))
        self.consent = messages[4], self.proof("consent", messages, layer)
        layer = await self.send(BINDING["session-consent"], *self.consent)
        granted = read_message("granted", layer.get(BINDING["session-grant"]) or b"")
        agreed = {name: offer[name] for name in ("scope", "groups", "attributes", "token-seconds")} | {"persona": self.caller.key, "recovery": recovery}
        require({name: granted[name] for name in agreed} == agreed, "SES-13", "another grant than was agreed to")
        session = self.taken(layer, offer)
        require(session.grant == name_of(transcript(messages)[-1]) == session.claims["jti"], "SES-11", "another name of the grant")
        require(granted["ends"] == session.ends == granted["begun"] + offer["grant-seconds"], "SES-12", "another end of the grant")
        return session

    def proof(self, step: str, messages: list[bytes], last: Layer) -> dict[str, bytes]:
        """The signature of the message that is to be sent, and the node's cookie back."""
        return {BINDING["session-signature"]: self.signature(step, transcript(messages)[-1]), BINDING["session-cookie"]: last.get(BINDING["session-cookie"])}

    async def renew(self, session: Session) -> Session:
        message = write_message(grant=session.grant)
        signature = self.signature("renew", renewal_hash(message))
        layer = await self.send(BINDING["session-renew"], message, {BINDING["session-signature"]: signature})
        renewed = self.taken(layer, session.offer)
        require(renewed.claims["jti"] == f"{session.grant}.{renewed.claims['iat']}", "SES-11", "another name of a renewed token")
        require((renewed.grant, renewed.ends) == (session.grant, session.ends), "SES-12", "another grant")
        return renewed

    def taken(self, layer: Layer, offer: dict) -> Session:
        """What came as a token is one of this node's for this persona (chapter 10)."""
        given = read_message("token", layer.body)
        text = given["token"]
        header, claims, signature = text.split(".")
        head, claims = (json.loads(base64url(part)) for part in (header, claims))
        keys = {did_of(key).removeprefix("did:key:"): key for key in self.keys.valid("token", now())}
        require(head == {"alg": BINDING["token-algorithm"], "typ": BINDING["token-type"], "kid": head.get("kid")} and head["kid"] in keys, "ADM-1", "another header")
        Ed25519PublicKey.from_public_bytes(keys[head["kid"]]).verify(base64url(signature), f"{header}.{text.split('.')[1]}".encode())
        node, persona = did_of(self.keys.root), did_of(self.caller.key)
        require((claims["iss"], claims["aud"], claims["sub"]) == (node, node, persona), "ADM-2", "for another node or persona")
        require(claims["cnf"]["jwk"]["x"] == b64(self.caller.key), "ADM-3", "for another key")
        require(claims["exp"] <= given["ends"] and claims["exp"] - claims["iat"] <= offer["token-seconds"], "SES-12", "a token that lives too long")
        require(claims["scope"] == offer["scope"], "SES-13", "another scope than was agreed to")
        return Session(given["grant"], given["ends"], claims, Caller(self.seed, text.encode()), offer)


def base64url(text: str) -> bytes:
    return unb64(text, len(text) * 3 // 4)


async def run(options: argparse.Namespace) -> int:
    root, said = key_of_did(options.pin), {}
    configuration = QuicConfiguration(alpn_protocols=[BINDING["alpn"]], supported_versions=[QuicProtocolVersion.VERSION_1],
                                      verify_mode=ssl.CERT_NONE, idle_timeout=LIMIT["idle-timeout"])
    async with connect(options.host, options.port, configuration=configuration, create_protocol=Connection) as connection:
        persona = Persona(connection, await connection.trust(root), options.seed)

        async def tried(doing) -> int:
            try:
                done = await doing
                return done.status if isinstance(done, Layer) else 200
            except Refused as refusal:
                return refusal.status

        def called(session: Session):
            return persona.send(options.target, None, {}, session.caller)

        first = await persona.open(options.want, options.recovery)
        said |= {"grant": first.grant, "ends": first.ends, "scope": first.claims["scope"], "jti": first.claims["jti"], "called": await tried(called(first))}
        again = persona.taken(await persona.send(BINDING["session-consent"], *persona.consent), first.offer)
        require(again.caller.token == first.caller.token, "SES-11", "a consent that was sent again made another token")
        renewed = await persona.renew(first)
        said |= {"renewed": renewed.claims["jti"], "token": renewed.caller.token.decode(), "calledRenewed": await tried(called(renewed))}
        listed = await persona.send(BINDING["session-list"], None, {}, renewed.caller)
        said |= {"listed": [grant["grant"] for grant in json.loads(listed.body)["grants"]]}
        if not options.keep:
            hung = await persona.send(BINDING["session-hangup"], None, {}, renewed.caller)
            said |= {"hungUp": json.loads(hung.body)["ended"], "after": {
                "called": [await tried(called(session)) for session in (first, renewed)], "renewed": await tried(persona.renew(first)),
                "consented": await tried(persona.send(BINDING["session-consent"], *persona.consent))}}
    print(json.dumps(said))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("target")
    parser.add_argument("--pin", metavar="DID", required=True)
    parser.add_argument("--seed", metavar="HEX", type=bytes.fromhex, required=True)
    parser.add_argument("--want", metavar="SCOPE", type=json.loads)
    parser.add_argument("--recovery", metavar="HEX", type=bytes.fromhex)
    parser.add_argument("--keep", action="store_true")
    try:
        return asyncio.run(run(parser.parse_args()))
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    except (Malformed, Unverified, Lost, ConnectionError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
