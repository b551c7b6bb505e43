// A small agent: posts one prompt to a Messages API and prints the streamed answer as it comes.
//
//     node client.mjs URL [--prompt TEXT] [--log FILE]
//
// URL is the server's base, as in https://127.0.0.1:8443. Uses Node's own fetch (18 or newer);
// NODE_EXTRA_CA_CERTS names the certificate to trust. --log appends one JSON object with the exact
// "request_body" and "response_body"; in these strings each character is one byte (latin-1).
// Exit status: 0 the answer came to its end, 1 it didn't.

import { appendFileSync } from "node:fs";
import { parseArgs } from "node:util";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompt: { type: "string", default: "Why does the test fail?" },
    log: { type: "string" },
  },
});
if (positionals.length !== 1) {
  console.error("usage: client.mjs URL [--prompt TEXT] [--log FILE]");
  process.exit(2);
}

try {
  await main(new URL("/v1/messages", positionals[0]));
} catch (error) {
  console.error(`client: ${error.message}${error.cause ? `: ${error.cause.message}` : ""}`);
  process.exitCode = 1;
}

async function main(url) {
  const requestBody = JSON.stringify({
    model: "demo-model-1",
    max_tokens: 1024,
    stream: true,
    system: "You are a coding agent. Use tools to check before you claim.",
    tools: [
      {
        name: "bash",
        description: "Runs a shell command and returns its output.",
        input_schema: { type: "object", properties: { command: { type: "string" } } },
      },
    ],
    messages: [{ role: "user", content: options.prompt }],
  });
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "anthropic-version": "2023-06-01",
      "x-api-key": "not-a-real-key",
      "user-agent": "demo-agent/1.0",
    },
    body: requestBody,
  });
  const received = [];
  const hasEnded = await printStream(response, received);
  if (options.log) {
    log(Buffer.from(requestBody), Buffer.concat(received));
  }
  if (!response.ok) {
    throw new Error(`the server said ${response.status}`);
  }
  if (!hasEnded) {
    throw new Error("the stream ended before message_stop");
  }
}

// Prints text and tool calls; keeps every byte in `received`. True once message_stop has come.
async function printStream(response, received) {
  const decoder = new TextDecoder();
  let rest = "";
  let hasEnded = false;
  for await (const chunk of response.body) {
    received.push(Buffer.from(chunk));
    const events = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) {
        hasEnded = printEvent(JSON.parse(data.slice("data: ".length))) || hasEnded;
      }
    }
  }
  return hasEnded;
}

function printEvent(event) {
  switch (event.type) {
    case "content_block_start":
      if (event.content_block.type === "tool_use") {
        process.stdout.write(`[tool call: ${event.content_block.name}] `);
      }
      break;
    case "content_block_delta":
      process.stdout.write(event.delta.text ?? event.delta.partial_json ?? "");
      break;
    case "content_block_stop":
      process.stdout.write("\n");
      break;
  }
  return event.type === "message_stop";
}

function log(requestBody, responseBody) {
  const line = {
    request_body: requestBody.toString("latin1"),
    response_body: responseBody.toString("latin1"),
  };
  appendFileSync(options.log, JSON.stringify(line) + "\n");
}
