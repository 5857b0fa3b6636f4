#!/usr/bin/env python3
"""Prints name and id of every service that answers `$SRV.PING`, a line each, sorted: NATS discovery without CMTP.

    python3 ping.py [nats://127.0.0.1:4222] [SECONDS]

How many will answer is known to nobody, so it listens until nothing more has come for a while (a second, if nothing else is
said).
"""

import asyncio
import json
import sys

import nats


async def main(url="nats://127.0.0.1:4222", seconds="1"):
    client = await nats.connect(url)
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish("$SRV.PING", reply=inbox)
    found = set()
    while True:
        try:
            answer = await answers.next_msg(timeout=float(seconds))
        except TimeoutError:
            break
        # A server without any service says so at once: status 503, no payload.
        if answer.data:
            ping = json.loads(answer.data)
            found.add((ping["name"], ping["id"]))
    for name, identity in sorted(found):
        print(name, identity)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
