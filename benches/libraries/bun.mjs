// Bun's TLS flat out, its BoringSSL as it is shipped: both ends in one process, over a loopback socket,
// one message at a time. The options and what it prints are those of testbins' common/load.c.
//
//     bun bun.mjs --cert FILE --key FILE --size BYTES --messages N|--seconds S [--wait]

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

const text = { type: "string" };
const { values: options } = parseArgs({
  options: {
    cert: text,
    key: text,
    size: { ...text, default: "256" },
    messages: text,
    seconds: text,
    timeout: { ...text, default: "60" },
    wait: { type: "boolean" },
  },
});
const size = Number(options.size);
setTimeout(() => process.exit(3), Number(options.timeout) * 1000);
if (options.wait) {
  console.log("ready");
  for await (const _ of console) break;
}

const line = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.\n";
const message = Buffer.from(line.repeat(Math.ceil(size / line.length)).slice(0, size));
const tls = { cert: readFileSync(options.cert), key: readFileSync(options.key) };
let client;
let rest = message;
let got = 0;
let messages = 0;
let start = 0;

const server = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  tls,
  socket: {
    data(_, bytes) {
      got += bytes.length;
      if (got < size) return;
      got -= size;
      messages++;
      if (isOver()) finish();
      rest = message;
      send();
    },
  },
});

function send() {
  while (rest.length > 0) {
    const taken = client.write(rest);
    if (taken <= 0) return; // until `drain`
    rest = rest.subarray(taken);
  }
}

function isOver() {
  if (options.messages) return messages >= Number(options.messages);
  return messages % 16 === 0 && performance.now() - start >= Number(options.seconds) * 1000;
}

function finish() {
  const { user, system } = process.cpuUsage();
  console.log(`messages ${messages}`);
  console.log(`seconds ${(performance.now() - start) / 1000}`);
  console.log(`cpu_seconds ${(user + system) / 1e6}`);
  process.exit(0);
}

await Bun.connect({
  hostname: "127.0.0.1",
  port: server.port,
  tls: { rejectUnauthorized: false },
  socket: {
    data() {},
    drain: send,
    handshake(socket) {
      client = socket;
      start = performance.now();
      send();
    },
  },
});
