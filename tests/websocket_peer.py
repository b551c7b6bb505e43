"""A WebSocket server and its client, which talk through another port, and write down what each of them reads.

Arguments: a file for the server's port, a file for what is read, the port that the client connects to, and what to ask of
permessage-deflate: words of `off`, `server_no`, `client_no` and `bits=N`.
"""

import asyncio
import random
import sys

import websockets
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

COUNT = 40


def messages(seed):
    numbers = random.Random(seed)
    text = '{"type":"response.output_text.delta","delta":"%s","sequence_number":%d}'
    for number in range(COUNT):
        kind = numbers.randrange(4)
        if kind == 0:
            yield numbers.randbytes(numbers.choice([0, 1, 500, 70000]))
        elif kind == 1:
            # Fragments.
            yield [text % (word, number) for word in ("a", "é", "x" * 3000)]
        else:
            yield text % ("word " * numbers.randrange(300), number)


async def talk(socket, seed, sender, log):
    async def read():
        for _ in range(COUNT):
            message = await socket.recv()
            kind = "text" if isinstance(message, str) else "binary"
            data = message.encode() if isinstance(message, str) else message
            log.write(f"{sender} {kind} {data.hex()}\n")

    async def write():
        for number, message in enumerate(messages(seed)):
            await socket.send(message)
            if number % 10 == 0:
                await (await socket.ping())

    await asyncio.gather(read(), write())


async def main(ready, log_path, port, words):
    options = {}
    if "server_no" in words:
        options["server_no_context_takeover"] = True
    if "client_no" in words:
        options["client_no_context_takeover"] = True
    bits = next((int(word[5:]) for word in words if word.startswith("bits=")), None)
    if bits:
        options["server_max_window_bits"] = bits
        options["client_max_window_bits"] = bits
    off = "off" in words
    server_extensions = None if off else [ServerPerMessageDeflateFactory(**options)]
    client_extensions = None if off else [ClientPerMessageDeflateFactory(**options)]
    done = asyncio.Event()
    with open(log_path, "w") as log:

        async def serve(socket):
            await talk(socket, 1, "client", log)
            await socket.wait_closed()
            done.set()

        # `compression` would add an extension of its own.
        async with websockets.serve(
            serve, "127.0.0.1", 0, extensions=server_extensions, compression=None
        ) as server:
            with open(ready, "w") as file:
                file.write(f"{server.sockets[0].getsockname()[1]}\n")
            async with websockets.connect(
                f"ws://127.0.0.1:{port}/",
                extensions=client_extensions,
                compression=None,
                proxy=None,
            ) as socket:
                await talk(socket, 2, "server", log)
            await done.wait()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].split()))
