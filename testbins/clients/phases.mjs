// Asks a mock LLM server on connections that are kept, when it is told to; or is such a server, with answers of its own.
//
//     node phases.mjs URL h1|h2 CONNECTIONS [chat]
//     node phases.mjs --server CERT KEY
//
// Each line on stdin is a number: so many calls on all connections, several at once on each of HTTP/2; then it says `done`.
// The first one above 0 opens the connections. Every call asks something of its own; `chat`: all of them in OpenAI's way. The server says `listening PORT`, and answers a chat with what it was asked, word
// by word. Both end with stdin. Trusted as in calls.py.

import http2 from "node:http2";
import https from "node:https";
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";

const AT_ONCE = 4;
let number = 0;

function question(isChat) {
  const content = `Question ${number}: ${"é".repeat(number % 50)} ${"word ".repeat(number % 7)}?`;
  const base = { model: "phases-1", stream: number % 2 === 0, messages: [{ role: "user", content }] };
  return number++ % 3 || isChat
    ? ["/v1/chat/completions", JSON.stringify(base)]
    : ["/v1/messages", JSON.stringify({ ...base, max_tokens: 1000 })];
}

/** A function that asks on one connection. */
function onHttp1(url, ca) {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  const options = { agent, host: url.hostname, port: url.port, method: "POST", ca };
  return ([path, body]) =>
    new Promise((resolve, reject) => {
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
      const request = https.request({ ...options, path, headers }, (answer) => {
        answer.on("data", () => {});
        answer.on("end", resolve);
      });
      request.on("error", reject);
      request.end(body);
    });
}

function onHttp2(url, ca) {
  const session = http2.connect(url, { ca });
  return ([path, body]) =>
    new Promise((resolve, reject) => {
      const fields = { ":method": "POST", ":path": path, "content-type": "application/json", "x-client": "phases" };
      const stream = session.request(fields);
      stream.on("data", () => {});
      stream.on("end", resolve);
      stream.on("error", reject);
      stream.end(body);
    });
}

async function client([address, version, connections, kind]) {
  const url = new URL(address);
  const ca = readFileSync(process.env.NODE_EXTRA_CA_CERTS);
  const connect = version === "h2" ? onHttp2 : onHttp1;
  let slots;
  for await (const line of createInterface({ input: process.stdin })) {
    if (!slots && Number(line)) {
      const all = Array.from({ length: Number(connections) }, () => connect(url, ca));
      slots = version === "h2" ? all.flatMap((ask) => Array(AT_ONCE).fill(ask)) : all;
    }
    let left = Number(line);
    const worker = async (ask) => {
      while (left-- > 0) await ask(question(kind === "chat"));
    };
    await Promise.all((slots ?? []).map(worker));
    console.log("done");
  }
  process.exit(0);
}

/** The pieces of a streamed answer, or the whole one. */
function answer(asked) {
  const id = `chatcmpl-${number++}`;
  const content = asked.messages.at(-1).content;
  if (!asked.stream) {
    const message = { role: "assistant", content };
    return [JSON.stringify({ id, object: "chat.completion", model: "echo", choices: [{ index: 0, message, finish_reason: "stop" }] })];
  }
  const chunk = (delta, finish_reason) => {
    const choices = [{ index: 0, delta, finish_reason }];
    return `data: ${JSON.stringify({ id, object: "chat.completion.chunk", model: "echo", choices })}\n\n`;
  };
  const words = content.split(/(?<= )/).map((word) => chunk({ role: "assistant", content: word }, null));
  return [...words, chunk({}, "stop"), "data: [DONE]\n\n"];
}

function server([cert, key]) {
  const options = { cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true };
  const listening = http2.createSecureServer(options, (request, response) => {
    const body = [];
    request.on("data", (piece) => body.push(piece));
    request.on("end", () => {
      const asked = JSON.parse(Buffer.concat(body));
      const kind = asked.stream ? "text/event-stream" : "application/json";
      response.writeHead(200, { "content-type": kind, "x-server": "phases" });
      for (const piece of answer(asked)) response.write(piece);
      response.end();
    });
  });
  listening.listen(0, "127.0.0.1", () => console.log(`listening ${listening.address().port}`));
  process.stdin.resume().on("end", () => process.exit(0));
}

const words = process.argv.slice(2);
if (words[0] === "--server") server(words.slice(1));
else await client(words);
