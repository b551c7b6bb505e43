// OpenAI's responses over a WebSocket, in node, with the `ws` package: permessage-deflate is offered.
//
//     node websocket.mjs URL
//
// Found and trusted as in calls.mjs.

import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_CLIENTS + "/package.json");
const WebSocket = require("ws");
const url = process.argv[2].replace("https:", "wss:") + "/v1/responses";
const socket = new WebSocket(url, { headers: { authorization: "Bearer sk-not-a-real-key" } });

const next = (request) =>
  new Promise((resolve, reject) => {
    socket.send(JSON.stringify({ type: "response.create", model: "gpt-5", instructions: "Be brief.", ...request }));
    socket.on("message", (data) => {
      const event = JSON.parse(data);
      if (event.type === "error") reject(new Error(JSON.stringify(event)));
      if (!["response.completed", "response.incomplete"].includes(event.type)) return;
      socket.removeAllListeners("message");
      resolve(event.response);
    });
  });

socket.on("error", (error) => {
  console.log(`FAILED ${error.stack}`);
  process.exit(1);
});
socket.on("open", async () => {
  const tools = [{ type: "function", name: "read_file", parameters: { type: "object", properties: {} }, strict: false }];
  const user = (text) => ({ type: "message", role: "user", content: [{ type: "input_text", text }] });
  const first = await next({ input: [user("hi 👩‍👩‍👧‍👦")], tools });
  const results = first.output
    .filter((item) => item.type === "function_call")
    .map((item) => ({ type: "function_call_output", call_id: item.call_id, output: "done" }));
  const second = await next({ input: results, previous_response_id: first.id, tools });
  const third = await next({ input: [user("and more?")], previous_response_id: second.id });
  console.log(`websocket: ${[first, second, third].map((one) => one.output.length)}`);
  socket.close();
});
