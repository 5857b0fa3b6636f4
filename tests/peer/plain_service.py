#!/usr/bin/env python3
"""A plain NATS service, as anybody writes one: it knows nothing of CMTP, and a node reaches it all the same.

    pip install nats-py
    python3 plain_service.py [nats://127.0.0.1:4222] [NAME]

It answers on the subject `greeter.hello` to a JSON array of names, in the queue group of nats-py's services, and is found by
`nats micro` and `cmtp services` ($SRV.PING). SIGINT and SIGTERM end it once it has answered what it began.
"""

import asyncio
import json
import signal
import sys

import nats
import nats.micro


async def hello(request):
    """Greets each name; a header `x-trace` is given back, marked."""
    try:
        names = json.loads(request.data or b"[]")
    except ValueError:
        return await request.respond_error("400", "expected a JSON array of names")
    if not names:
        return await request.respond_error("400", "nobody to greet: give a name")
    headers = {"content-type": "text/plain"}
    if trace := (request.headers or {}).get("x-trace"):
        headers["x-trace"] = f"seen {trace}"
    headers["x-secret"] = "stays on the bus"
    await request.respond(f"Hello, {', '.join(names)}!".encode(), headers=headers)


async def main(url="nats://127.0.0.1:4222", name="greeter"):
    client = await nats.connect(url)
    service = await nats.micro.add_service(client, name=name, version="1.0.0")
    await service.add_endpoint(name="hello", subject="greeter.hello", handler=hello)
    # The server has the subscriptions before anybody is told.
    await client.flush()
    print(f"{name} {service.id} listens on greeter.hello", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await service.stop()
    await client.drain()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
