// Many calls at once, in node: half of the connections HTTP/1.1 with keep-alive, half HTTP/2 with several calls on each.
//
//     node load.mjs URL CALLS CONNECTIONS
//
// Every call asks something of its own, every second one is streamed. Trusted as in calls.mjs; ends with 1 if a call failed.

import http2 from "node:http2";
import https from "node:https";
import { readFileSync } from "node:fs";

const url = new URL(process.argv[2]);
const [calls, connections] = process.argv.slice(3).map(Number);
const ca = readFileSync(process.env.NODE_EXTRA_CA_CERTS);
const STREAMS = 4;

let next = 0;

/** Path and body of the next call, or nothing when all are made. */
function question() {
  if (next === calls) return;
  const number = next++;
  const content = `Question ${number}: ${"é".repeat(number % 50)}?`;
  const base = { model: "load-1", stream: number % 2 === 0, messages: [{ role: "user", content }] };
  return number % 3
    ? ["/v1/chat/completions", JSON.stringify(base)]
    : ["/v1/messages", JSON.stringify({ ...base, max_tokens: 1000 })];
}

function onHttp1(agent, path, body) {
  const options = { agent, host: url.hostname, port: url.port, path, method: "POST", ca };
  options.headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const request = https.request(options, (response) => {
      response.on("data", () => {});
      response.on("end", () => (response.statusCode === 200 ? resolve() : reject(new Error(response.statusCode))));
    });
    request.on("error", reject);
    request.end(body);
  });
}

function onHttp2(session, path, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/json" });
    stream.on("data", () => {});
    stream.on("end", resolve);
    stream.on("error", reject);
    stream.end(body);
  });
}

async function worker(ask) {
  for (let one = question(); one; one = question()) await ask(...one);
}

const workers = [];
const sessions = [];
for (let at = 0; at < connections; at++) {
  if (at % 2) {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    workers.push(worker((...one) => onHttp1(agent, ...one)));
  } else {
    const session = http2.connect(url, { ca });
    sessions.push(session);
    for (let n = 0; n < STREAMS; n++) workers.push(worker((...one) => onHttp2(session, ...one)));
  }
}
await Promise.all(workers);
for (const session of sessions) session.close();
process.exit(0);
