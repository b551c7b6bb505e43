// Drives a mock LLM server with the official npm SDKs, in node, bun or deno.
//
//     node calls.mjs URL [openai|anthropic|google]...
//
// The packages are looked for from NODE_CLIENTS (a folder with node_modules); the certificate is trusted by
// NODE_EXTRA_CA_CERTS. Prints one line for each call; ends with 1 if a call went otherwise than it should.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, ...names] = process.argv.slice(2);
const require = createRequire(process.env.NODE_CLIENTS + "/package.json");
const load = (name) => import(pathToFileURL(require.resolve(name)).href);

const HARD = 'Say "ünïcödé" 👩‍👩‍👧‍👦\nwith\r\nlines \\ and \u2028 data: [DONE]';
const SCHEMA = {
  type: "object",
  properties: { path: { type: "string" }, limit: { type: "number" } },
  required: ["path"],
};

let failures = 0;

async function call(name, run) {
  try {
    console.log(`${name}: ${String(await run()).length}`);
  } catch (error) {
    failures += 1;
    console.log(`${name}: FAILED ${error?.stack ?? error}`);
  }
}

/** The call must fail; with what, is up to the SDK. */
async function fails(name, run) {
  await call(name, async () => {
    let got;
    try {
      got = await run();
    } catch (error) {
      return `as it should: ${error}`;
    }
    throw new Error(`it gave ${JSON.stringify(got)}`);
  });
}

async function drain(stream, of) {
  let text = "";
  for await (const event of stream) text += of(event) ?? "";
  return text;
}

async function openai() {
  const { default: OpenAI } = await load("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-not-a-real-key", maxRetries: 2, timeout: 30_000 });
  const model = "gpt-4.1-mini";
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: HARD },
  ];
  const tools = [{ type: "function", function: { name: "read_file", description: "Reads.", parameters: SCHEMA } }];
  const chat = (more) => client.chat.completions.create({ model, messages, ...more });
  const streamed = (more) =>
    chat({ stream: true, ...more }).then((s) => drain(s, (e) => e.choices[0]?.delta?.content));

  await call("chat", async () => (await chat()).choices[0].message.content);
  await call("chat n=3", async () => (await chat({ n: 3 })).choices.map((c) => c.message.content));
  await call("chat stream", () => streamed());
  await call("chat stream n=3 usage", () => streamed({ n: 3, stream_options: { include_usage: true } }));
  for (const stream of [false, true]) {
    await call(`chat tools stream=${stream}`, async () => {
      const message = stream
        ? await client.chat.completions.stream({ model, messages, tools }).finalMessage()
        : (await chat({ tools })).choices[0].message;
      const results = message.tool_calls.map((c) => ({
        role: "tool",
        tool_call_id: c.id,
        content: `Result of ${c.function.name}: ${HARD}`,
      }));
      const more = [...messages, message, ...results];
      return (await client.chat.completions.create({ model, messages: more, tools })).choices[0].message.content;
    });
  }
  await call("chat effort", async () => (await chat({ reasoning_effort: "low" })).choices[0].message.content);
  await call("embeddings", async () => (await client.embeddings.create({ model: "text-embedding-3-small", input: [HARD, "two"] })).data);
  await call("completion", async () => (await client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: HARD })).choices[0].text);
  await call("completion stream", async () =>
    drain(await client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: HARD, stream: true }), (e) => e.choices[0]?.text));

  const respond = (more) => client.responses.create({ model, instructions: "Be brief.", input: HARD, ...more });
  const functions = [{ type: "function", name: "read_file", description: "Reads.", parameters: SCHEMA, strict: false }];
  await call("responses", async () => (await respond()).output_text);
  await call("responses stream", async () => drain(await respond({ stream: true }), (e) => e.delta));
  await call("responses reasoning stream", async () =>
    drain(await respond({ stream: true, reasoning: { effort: "low", summary: "auto" } }), (e) => e.delta));
  await call("responses tools", async () => {
    const first = await respond({ tools: functions });
    const results = first.output
      .filter((o) => o.type === "function_call")
      .map((o) => ({ type: "function_call_output", call_id: o.call_id, output: `Result: ${HARD}` }));
    const input = [{ role: "user", content: HARD }, ...first.output, ...results];
    return (await respond({ tools: functions, input })).output_text;
  });

  const faulty = (fault, more) => client.chat.completions.create({ model: `fault-${fault}`, messages, ...more });
  await call("retried 429", async () => (await faulty("429x2")).choices[0].message.content);
  await call("retried 500", async () => (await faulty("500x1")).choices[0].message.content);
  await fails("429", () => faulty("429"));
  await fails("malformed", () => faulty("malformed"));
  const failing = async (fault) => drain(await faulty(fault, { stream: true }), (e) => e.choices[0]?.delta?.content);
  for (const fault of ["cut", "malformed", "error-event"]) await fails(`stream ${fault}`, () => failing(fault));
  await call("stream slow", () => failing("slow"));
  await call("parallel", async () => Promise.all(Array.from({ length: 8 }, (_, i) =>
    i % 2 ? streamed({ user: `u${i}` }) : chat({ user: `u${i}` }))));
}

async function anthropic() {
  const { default: Anthropic } = await load("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: url, apiKey: "sk-ant-not-a-real-key", maxRetries: 2, timeout: 30_000 });
  const model = "claude-demo-1";
  const messages = [{ role: "user", content: HARD }];
  const base = { model, max_tokens: 4096, system: [{ type: "text", text: "Be brief." }], messages };
  const tools = [{ name: "read_file", description: "Reads.", input_schema: SCHEMA }];
  const thinking = { type: "enabled", budget_tokens: 2048 };
  const search = [{ type: "web_search_20250305", name: "web_search" }];
  const create = (more) => client.messages.create({ ...base, ...more });
  const streamed = (more) => client.messages.stream({ ...base, ...more }).finalMessage();

  for (const [kind, run] of [["whole", create], ["stream", streamed]]) {
    await call(`messages ${kind}`, async () => JSON.stringify((await run({})).content));
    await call(`messages ${kind} thinking`, async () => JSON.stringify((await run({ thinking })).content));
    await call(`messages ${kind} search`, async () => JSON.stringify((await run({ tools: search })).content));
    await call(`messages ${kind} tools`, async () => {
      const first = await run({ tools });
      const results = first.content
        .filter((b) => b.type === "tool_use")
        .map((b, i) => ({ type: "tool_result", tool_use_id: b.id, is_error: i === 1,
          content: i ? [{ type: "text", text: HARD }] : `Result: ${HARD}` }));
      const more = [...messages, { role: "assistant", content: first.content }, { role: "user", content: results }];
      return JSON.stringify((await run({ tools, messages: more })).content);
    });
  }
  const faulty = (fault, run = create) => run({ model: `fault-${fault}` });
  await call("retried 429", async () => (await faulty("429x2")).content);
  await call("retried 529", async () => (await faulty("529x1")).content);
  await fails("529", () => faulty("529"));
  for (const fault of ["cut", "malformed", "error-event"]) await fails(`stream ${fault}`, () => faulty(fault, streamed));
  await call("stream slow", () => faulty("slow", streamed));
  await call("parallel", async () => Promise.all(Array.from({ length: 8 }, (_, i) =>
    (i % 2 ? streamed : create)({ metadata: { user_id: `u${i}` } }))));
}

async function google() {
  const { GoogleGenAI } = await load("@google/genai");
  const client = new GoogleGenAI({ apiKey: "not-a-real-key", httpOptions: { baseUrl: url } });
  const model = "gemini-2.5-flash";
  const declared = [{ name: "read_file", description: "Reads.", parametersJsonSchema: SCHEMA }];
  const base = { systemInstruction: "Be brief." };
  const ask = (config, contents = HARD, name = model) =>
    client.models.generateContent({ model: name, contents, config: { ...base, ...config } });
  const streamed = async (config, contents = HARD, name = model) =>
    drain(await client.models.generateContentStream({ model: name, contents, config: { ...base, ...config } }),
      (chunk) => JSON.stringify(chunk.candidates));
  const thinkingConfig = { includeThoughts: true };

  await call("generate", async () => (await ask({})).text);
  await call("generate thoughts", async () => (await ask({ thinkingConfig })).text);
  await call("generate 3", async () => (await ask({ candidateCount: 3 })).candidates);
  await call("stream", () => streamed({}));
  await call("stream thoughts", () => streamed({ thinkingConfig }));
  await call("stream tools", () => streamed({ tools: [{ functionDeclarations: declared }] }));
  await call("tools", async () => {
    const tools = [{ functionDeclarations: declared }];
    const first = await ask({ tools });
    const parts = first.functionCalls.map((c) => ({ functionResponse: { name: c.name, response: { output: HARD } } }));
    const contents = [{ role: "user", parts: [{ text: HARD }] }, first.candidates[0].content, { role: "user", parts }];
    return (await ask({ tools }, contents)).text;
  });
  await call("embed", async () =>
    (await client.models.embedContent({ model: "gemini-embedding-001", contents: [HARD, "two"] })).embeddings);
  await fails("429", () => ask({}, HARD, "fault-429"));
  await fails("stream cut", () => streamed({}, HARD, "fault-cut"));
  await call("stream slow", () => streamed({}, HARD, "fault-slow"));
}

const all = { openai, anthropic, google };
for (const name of names.length ? names : Object.keys(all)) await all[name]();
process.exit(failures ? 1 : 0);
