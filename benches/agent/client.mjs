// An agent for the bench: prompts of 20 to 100 KB, and streamed answers that it reads event by event.
//
//     node client.mjs PORT CERT REQUESTS EVENTS PAUSE-MS
//
// Prints "ready", waits for a line, makes the requests on one connection, and prints the bytes it sent
// and got, its wall time and its processor time between the first request and the last answer.

import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { createInterface } from "node:readline";

const [port, certificate, requests, events, pause] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: readFileSync(certificate) });

function prompt(number) {
  const line = "fn parse_port(text: &str) -> Result<u16> { text.parse() }\n";
  const content = line.repeat(Math.ceil(((number % 5) + 1) * 20_000 / line.length));
  return JSON.stringify({ model: "bench", stream: true, messages: [{ role: "user", content }] });
}

async function ask(number) {
  const body = Buffer.from(prompt(number));
  const options = {
    agent,
    host: "127.0.0.1",
    port,
    method: "POST",
    path: `/?events=${events}&pause=${pause}`,
    headers: { "content-type": "application/json", "content-length": body.length },
  };
  const response = await new Promise((resolve, reject) => {
    request(options, resolve).on("error", reject).end(body);
  });
  let got = 0;
  let deltas = 0;
  let text = "";
  let rest = "";
  response.setEncoding("utf8");
  for await (const piece of response) {
    got += piece.length;
    const blocks = (rest + piece).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = JSON.parse(block.slice(block.indexOf("\ndata: ") + 7));
      if (event.type !== "content_block_delta") continue;
      deltas++;
      text += event.delta.text;
    }
  }
  if (deltas !== Number(events) || !text.endsWith(" ")) throw new Error(`${deltas} events came`);
  return [body.length, got];
}

console.log("ready");
const lines = createInterface({ input: process.stdin });
await new Promise((resolve) => lines.once("line", resolve));
lines.close();
let sent = 0;
let got = 0;
const [start, used] = [process.hrtime.bigint(), process.cpuUsage()];
for (let number = 0; number < Number(requests); number++) {
  const [up, down] = await ask(number);
  sent += up;
  got += down;
}
const { user, system } = process.cpuUsage(used);
console.log(`bytes ${sent + got}`);
console.log(`seconds ${Number(process.hrtime.bigint() - start) / 1e9}`);
console.log(`cpu_seconds ${(user + system) / 1e6}`);
process.exit(0);
