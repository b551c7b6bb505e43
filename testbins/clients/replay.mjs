// Asks again what was recorded, in node: of a server on this machine, whatever the address says.
//
//     node replay.mjs PORT PLAN
//
// PLAN is that of replay.py; clients are `https`, `fetch` and `http2`. Certificates are trusted as the environment says
// (NODE_TLS_REJECT_UNAUTHORIZED). Ends with 1 if an answer has another status.

import dns from "node:dns";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import tls from "node:tls";
import { readFileSync } from "node:fs";

const [port, plan] = process.argv.slice(2);
const AT_ONCE = 4;
const here = { host: "127.0.0.1", port: Number(port) };
const agent = new https.Agent({ keepAlive: true, maxSockets: 2 });
const sessions = new Map();

dns.lookup = (host, options, done) => {
  if (typeof options === "function") return options(null, here.host, 4);
  if (options.all) return done(null, [{ address: here.host, family: 4 }]);
  return done(null, here.host, 4);
};

/** The name that TLS is to ask for: an address is none. */
function name(one) {
  const host = one.authority.replace(/:\d+$/, "");
  return net.isIP(host) ? undefined : host;
}

const clients = {
  https: (one) =>
    new Promise((resolve, reject) => {
      const { method, target: path, body, headers } = one;
      const options = { ...here, agent, method, path, servername: name(one) };
      options.headers = { ...headers, host: one.authority };
      if (body.length) options.headers["content-length"] = body.length;
      const request = https.request(options, (answer) => {
        answer.on("data", () => {});
        answer.on("error", reject);
        answer.on("end", () => resolve(answer.statusCode));
      });
      request.on("error", reject);
      request.end(body);
    }),

  fetch: async (one) => {
    const { method, headers } = one;
    // Only the usual port is ours.
    if (new URL(one.url).port) return clients.https(one);
    const body = one.body.length ? one.body : undefined;
    const answer = await fetch(one.url, { method, headers, body, redirect: "manual" });
    // What it cannot decode is none of our business.
    await answer.arrayBuffer().catch(() => {});
    return answer.status;
  },

  http2: (one) =>
    new Promise((resolve, reject) => {
      let session = sessions.get(one.authority);
      if (!session || session.closed || session.destroyed) {
        const connect = () => tls.connect({ ...here, servername: name(one), ALPNProtocols: ["h2"] });
        session = http2.connect(`https://${one.authority}`, { createConnection: connect });
        session.on("error", () => {});
        sessions.set(one.authority, session);
      }
      const head = { ":method": one.method, ":path": one.target, ":authority": one.authority };
      const stream = session.request({ ...one.headers, ...head }, { endStream: !one.body.length });
      let status;
      stream.on("response", (fields) => (status = fields[":status"]));
      stream.on("data", () => {});
      stream.on("end", () => resolve(status));
      stream.on("error", reject);
      if (one.body.length) stream.end(one.body);
    }),
};

const questions = readFileSync(plan, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
let wentWell = true;

async function worker() {
  for (let one = questions.shift(); one; one = questions.shift()) {
    one.body = Buffer.from(one.body, "base64");
    const status = await clients[one.client](one).catch((error) => `${error} ${error.cause}`);
    if (status === one.status) continue;
    wentWell = false;
    console.log(`${one.client} ${one.method} ${one.url}: ${status} instead of ${one.status}`);
  }
}

await Promise.all(Array.from({ length: AT_ONCE }, worker));
for (const session of sessions.values()) session.close();
process.exit(wentWell ? 0 : 1);
