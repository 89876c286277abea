"""Forty requests at once on one connection over HTTP/2, to an upstream that never comes to
an end: how many are served, and whether the gate says that it is well all the while."""

import asyncio
import os
import sys

import httpx

BASE, KEY = sys.argv[1:3]
HEADERS = {"X-Agent-Key": KEY}


async def main():
    async with httpx.AsyncClient(http1=False, http2=True, timeout=60) as client:
        streams = [client.stream("GET", f"{BASE}/proxy/github/{n}", headers=HEADERS) for n in range(40)]
        answers = [await stream.__aenter__() for stream in streams]
        served = [answer.status_code for answer in answers].count(200)
        refused = [answer.status_code for answer in answers].count(503)
        well = (await client.get(f"{BASE}/health")).status_code
    after = None
    while after != 200:
        async with httpx.AsyncClient(timeout=60) as client:
            async with client.stream("GET", f"{BASE}/proxy/github/x", headers=HEADERS) as answer:
                after = answer.status_code
    print(f"served {served}, refused {refused}, well {well}, afterwards {after}", flush=True)
    # What the library has left behind of the endless answers holds nobody up.
    os._exit(0)


asyncio.run(main())
