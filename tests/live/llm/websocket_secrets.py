"""A WebSocket over TLS, whose two ends say a secret to each other, between words that are none.

Arguments: certificate, key, secret, and `deflate` or `plain`.
"""

import asyncio
import json
import ssl
import sys

import websockets

certificate, key, secret, compression = sys.argv[1:]
compression = "deflate" if compression == "deflate" else None


def said(text):
    return json.dumps({"type": "said", "text": text, "words": ["harmless"] * 20})


async def answer(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=certificate)
    async with websockets.serve(answer, "127.0.0.1", 0, ssl=server, compression=compression) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with websockets.connect(f"wss://127.0.0.1:{port}/chat", ssl=client, compression=compression) as socket:
            for text in ["the first words", f"the key is {secret}, keep it", "the last words"]:
                await socket.send(said(text))
                await socket.recv()


asyncio.run(main())
