// An HTTPS server for the bench: takes a prompt, answers with server-sent events.
//
//     node server.mjs CERT KEY
//
// Listens on 127.0.0.1 and prints "listening PORT". POST /?events=N&pause=MS reads the body and sends N
// events in the shape of the Anthropic Messages API, MS milliseconds apart, each in a write of its own.

import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { setImmediate, setTimeout } from "node:timers/promises";

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));

const server = createServer({ cert, key, keepAliveTimeout: 60_000 }, async (request, response) => {
  const wish = new URL(request.url, "https://localhost").searchParams;
  const [events, pause] = ["events", "pause"].map((name) => Number(wish.get(name)));
  let length = 0;
  for await (const piece of request) length += piece.length;
  response.writeHead(200, { "content-type": "text/event-stream" });
  request.socket.setNoDelay(true);
  for (let at = 0; at < events; at++) {
    const text = `token ${at} of an answer to ${length} bytes `;
    const event = { type: "content_block_delta", index: 0, delta: { type: "text_delta", text } };
    response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    await (pause > 0 ? setTimeout(pause) : setImmediate());
  }
  response.end('event: message_stop\ndata: {"type":"message_stop"}\n\n');
});
server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port}`));
