#!/usr/bin/env python3
"""Drives a mock LLM server with the official Python SDKs.

    calls.py URL [openai|anthropic|google|bedrock|mcp|azure|ollama|cohere]...

The packages are found by PYTHONPATH; the certificate is trusted by SSL_CERT_FILE (AWS_CA_BUNDLE for boto3). Prints one
line for each call; ends with 1 if a call went otherwise than it should. What the SDKs understood of answers goes to the
file CLIENT_LOG, if that is set: one JSON line with the answer's id, its texts and its tool calls, by choice.
"""

import asyncio
import json
import os
import sys
import traceback

URL = sys.argv[1]
HARD = 'Say "ünïcödé" 👩‍👩‍👧‍👦\nwith\r\nlines \\ and \u2028 data: [DONE]'
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "limit": {"type": "number"}},
    "required": ["path"],
}
failures = 0


def call(name, run):
    global failures
    try:
        print(f"{name}: {len(str(run()))}", flush=True)
    except Exception:
        failures += 1
        print(f"{name}: FAILED {traceback.format_exc()}", flush=True)


def fails(name, run):
    """The call must fail; with what, is up to the SDK."""
    global failures
    try:
        got = run()
    except Exception as error:
        print(f"{name}: as it should: {type(error).__name__}", flush=True)
        return
    failures += 1
    print(f"{name}: FAILED: it gave {str(got)[:200]}", flush=True)


def note(id, texts, calls):
    if path := os.environ.get("CLIENT_LOG"):
        with open(path, "a") as log:
            print(json.dumps({"id": id, "texts": texts, "tool_calls": calls}), file=log)


def openai():
    import openai as sdk

    client = sdk.OpenAI(base_url=f"{URL}/v1", api_key="sk-not-a-real-key", max_retries=2, timeout=30)
    openai_chat(client, "gpt-4.1-mini")
    openai_responses(client)
    embed = client.embeddings.create
    call("embeddings", lambda: embed(model="text-embedding-3-small", input=[HARD, "two"]).data)
    complete = client.completions.create
    call("completion", lambda: complete(model="gpt-3.5-turbo-instruct", prompt=HARD).choices[0].text)
    call("completion stream", lambda: list(complete(model="gpt-3.5-turbo-instruct", prompt=HARD, stream=True)))
    asyncio.run(openai_parallel(sdk))
    # The SDK's own HTTP/2.
    import httpx2

    http = httpx2.Client(http2=True)
    client = sdk.OpenAI(base_url=f"{URL}/v1", api_key="sk-not-a-real-key", http_client=http)
    call("h2 chat", lambda: client.chat.completions.create(model="gpt-5", messages=[user()]))
    call("h2 stream", lambda: list(client.chat.completions.create(model="gpt-5", messages=[user()], stream=True)))


def user(text=HARD):
    return {"role": "user", "content": text}


def openai_chat(client, model):
    create = client.chat.completions.create
    messages = [{"role": "system", "content": "Be brief."}, user()]
    tools = [{"type": "function", "function": {"name": "read_file", "description": "Reads.", "parameters": SCHEMA}}]

    def chat(**more):
        answer = create(**{"model": model, "messages": messages, **more})
        if not more.get("stream"):
            said = [choice.message for choice in answer.choices]
            calls = [[[one.id, one.function.name, json.loads(one.function.arguments)] for one in m.tool_calls or []] for m in said]
            note(answer.id, [message.content or "" for message in said], calls)
        return answer

    def stream(**more):
        chunks, texts = list(chat(stream=True, **more)), {}
        for choice in [choice for chunk in chunks for choice in chunk.choices]:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
        note(chunks[-1].id, [texts[index] for index in sorted(texts)], None)
        return chunks

    def with_tools(**more):
        message = chat(tools=tools, **more).choices[0].message
        results = [
            {"role": "tool", "tool_call_id": one.id, "content": f"Result of {one.function.name}: {HARD}"}
            for one in message.tool_calls
        ]
        more = [*messages, message.model_dump(exclude_none=True), *results]
        return create(model=model, messages=more, tools=tools).choices[0].message.content

    call("chat", lambda: chat().choices[0].message.content)
    call("chat n=3", lambda: chat(n=3).choices)
    call("chat stream", stream)
    call("chat stream n=3 usage", lambda: stream(n=3, stream_options={"include_usage": True}))
    call("chat stream tools", lambda: stream(tools=tools))
    call("chat tools", with_tools)
    call("chat effort", lambda: chat(reasoning_effort="low"))
    call("retried 429", lambda: chat(model="fault-429x2"))
    call("retried 500", lambda: chat(model="fault-500x1"))
    fails("429", lambda: chat(model="fault-429"))
    fails("malformed", lambda: chat(model="fault-malformed"))
    for fault in ["cut", "malformed", "error-event"]:
        fails(f"stream {fault}", lambda: stream(model=f"fault-{fault}"))
    call("stream slow", lambda: stream(model="fault-slow"))


def openai_responses(client):
    tools = [{"type": "function", "name": "read_file", "description": "Reads.", "parameters": SCHEMA, "strict": False}]
    base = {"model": "gpt-5", "instructions": "Be brief.", "input": HARD}

    def respond(**more):
        answer = client.responses.create(**{**base, **more})
        if not more.get("stream"):
            calls = [item for item in answer.output if item.type == "function_call"]
            calls = [[one.call_id, one.name, json.loads(one.arguments)] for one in calls]
            note(answer.id, [answer.output_text], [calls])
        return answer

    def with_tools():
        first = respond(tools=tools)
        results = [
            {"type": "function_call_output", "call_id": item.call_id, "output": f"Result: {HARD}"}
            for item in first.output
            if item.type == "function_call"
        ]
        said = [item.model_dump(exclude_none=True) for item in first.output]
        return respond(tools=tools, input=[user(), *said, *results]).output_text

    call("responses", lambda: respond().output_text)
    call("responses stream", lambda: list(respond(stream=True)))
    reasoning = {"effort": "low", "summary": "auto"}
    call("responses reasoning", lambda: respond(reasoning=reasoning).output)
    call("responses reasoning stream", lambda: list(respond(stream=True, reasoning=reasoning)))
    call("responses tools", with_tools)
    call("responses tools stream", lambda: list(respond(stream=True, tools=tools)))


async def openai_parallel(sdk):
    client = sdk.AsyncOpenAI(base_url=f"{URL}/v1", api_key="sk-not-a-real-key")
    chat = client.chat.completions.create

    async def one(n):
        if n % 2:
            return await chat(model="gpt-5", messages=[user(f"{n}: {HARD}")])
        return [c async for c in await chat(model="gpt-5", messages=[user(f"{n}: {HARD}")], stream=True)]

    got = await asyncio.gather(*[one(n) for n in range(8)])
    call("parallel", lambda: got)


def azure():
    import openai as sdk

    client = sdk.AzureOpenAI(
        azure_endpoint=URL, api_key="not-a-real-key", api_version="2024-10-21", max_retries=2, timeout=30
    )
    chat = client.chat.completions.create
    call("azure chat", lambda: chat(model="my-deployment", messages=[user()]))
    call("azure stream", lambda: list(chat(model="my-deployment", messages=[user()], stream=True)))
    call("azure embeddings", lambda: client.embeddings.create(model="my-embeddings", input=[HARD, "two"]))


def anthropic():
    import anthropic as sdk

    client = sdk.Anthropic(base_url=URL, api_key="sk-ant-not-a-real-key", max_retries=2, timeout=30)
    tools = [{"name": "read_file", "description": "Reads.", "input_schema": SCHEMA}]
    base = {"model": "claude-demo-1", "max_tokens": 4096, "system": "Be brief.", "messages": [user()]}

    def noted(message):
        texts = [block.text for block in message.content if block.type == "text"]
        calls = [[b.id, b.name, b.input] for b in message.content if b.type == "tool_use"]
        note(message.id, ["".join(texts)], [calls])
        return message

    def create(**more):
        return noted(client.messages.create(**{**base, **more}))

    def stream(**more):
        with client.messages.stream(**{**base, **more}) as events:
            return noted(events.get_final_message())

    def with_tools(run):
        first = run(tools=tools)
        results = [
            {
                "type": "tool_result",
                "tool_use_id": block.id,
                "is_error": at == 1,
                "content": [{"type": "text", "text": HARD}] if at else f"Result: {HARD}",
            }
            for at, block in enumerate(b for b in first.content if b.type == "tool_use")
        ]
        said = [block.model_dump(exclude_none=True) for block in first.content]
        messages = [user(), {"role": "assistant", "content": said}, {"role": "user", "content": results}]
        return run(tools=tools, messages=messages).content

    for kind, run in [("whole", create), ("stream", stream)]:
        call(f"messages {kind}", lambda: run().content)
        thinking = {"type": "enabled", "budget_tokens": 2048}
        call(f"messages {kind} thinking", lambda: run(thinking=thinking).content)
        search = [{"type": "web_search_20250305", "name": "web_search"}]
        call(f"messages {kind} search", lambda: run(tools=search).content)
        call(f"messages {kind} tools", lambda: with_tools(run))
    call("retried 429", lambda: create(model="fault-429x2"))
    call("retried 529", lambda: create(model="fault-529x1"))
    fails("529", lambda: create(model="fault-529"))
    for fault in ["cut", "malformed", "error-event"]:
        fails(f"stream {fault}", lambda: stream(model=f"fault-{fault}"))
    call("stream slow", lambda: stream(model="fault-slow"))


def google():
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="not-a-real-key", http_options={"base_url": URL})
    declared = types.Tool(
        function_declarations=[{"name": "read_file", "description": "Reads.", "parameters_json_schema": SCHEMA}]
    )
    off = types.AutomaticFunctionCallingConfig(disable=True)

    def config(**more):
        return types.GenerateContentConfig(
            system_instruction="Be brief.", automatic_function_calling=off, **more
        )

    def ask(contents=HARD, model="gemini-2.5-flash", **more):
        return client.models.generate_content(model=model, contents=contents, config=config(**more))

    def stream(model="gemini-2.5-flash", **more):
        chunks = list(client.models.generate_content_stream(model=model, contents=HARD, config=config(**more)))
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        texts = [part.text for part in parts if part.text and not part.thought]
        calls = [[None, part.function_call.name, part.function_call.args] for part in parts if part.function_call]
        note(chunks[-1].response_id, ["".join(texts)], [calls])
        return chunks

    def with_tools():
        first = ask(tools=[declared])
        parts = [
            types.Part.from_function_response(name=one.name, response={"output": HARD})
            for one in first.function_calls
        ]
        asked = types.Content(role="user", parts=[types.Part(text=HARD)])
        contents = [asked, first.candidates[0].content, types.Content(role="user", parts=parts)]
        return ask(contents=contents, tools=[declared]).text

    thinking = types.ThinkingConfig(include_thoughts=True)
    call("generate", lambda: ask().text)
    call("generate thoughts", lambda: ask(thinking_config=thinking).text)
    call("generate 3", lambda: ask(candidate_count=3).candidates)
    call("generate tools", with_tools)
    call("generate stream", stream)
    call("generate stream thoughts", lambda: stream(thinking_config=thinking))
    call("generate stream tools", lambda: stream(tools=[declared]))
    embed = client.models.embed_content
    call("embed", lambda: embed(model="gemini-embedding-001", contents=[HARD, "two"]).embeddings)
    fails("429", lambda: ask(model="fault-429"))
    fails("stream cut", lambda: stream(model="fault-cut"))
    call("stream slow", lambda: stream(model="fault-slow"))


def bedrock():
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=URL,
        region_name="us-east-1",
        aws_access_key_id="AKIANOTAREALKEY00000",
        aws_secret_access_key="not-a-real-key",
        config=Config(retries={"total_max_attempts": 2}),
    )
    model = "anthropic.claude-3-5-sonnet-20240620-v1:0"
    messages = [{"role": "user", "content": [{"text": HARD}]}]
    tools = {"tools": [{"toolSpec": {"name": "read_file", "inputSchema": {"json": SCHEMA}}}]}
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2048}}

    def converse(**more):
        base = {"modelId": model, "messages": messages, "system": [{"text": "Be brief."}]}
        return client.converse(**{**base, **more})["output"]

    def stream(**more):
        return list(client.converse_stream(**{"modelId": model, "messages": messages, **more})["stream"])

    def with_tools():
        said = converse(toolConfig=tools)["message"]
        results = [
            {"toolResult": {"toolUseId": block["toolUse"]["toolUseId"], "content": [{"text": HARD}]}}
            for block in said["content"]
            if "toolUse" in block
        ]
        return converse(toolConfig=tools, messages=[*messages, said, {"role": "user", "content": results}])

    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [user()]}
    packed = json.dumps(body)
    call("converse", converse)
    call("converse thinking", lambda: converse(additionalModelRequestFields=thinking))
    call("converse tools", with_tools)
    call("converse stream", stream)
    call("converse stream thinking", lambda: stream(additionalModelRequestFields=thinking))
    call("converse stream tools", lambda: stream(toolConfig=tools))
    call("invoke", lambda: client.invoke_model(modelId=model, body=packed)["body"].read())
    invoke = client.invoke_model_with_response_stream
    call("invoke stream", lambda: list(invoke(modelId=model, body=packed)["body"]))
    fails("429", lambda: converse(modelId="fault-429"))
    fails("stream cut", lambda: stream(modelId="fault-cut"))
    fails("stream error-event", lambda: stream(modelId="fault-error-event"))


def mcp():
    asyncio.run(mcp_session())


async def mcp_session():
    from mcp import Client

    async with Client(f"{URL}/mcp") as client:
        tools = await client.list_tools()
        call("mcp tools", lambda: tools)
        for n in range(6):
            got = await client.call_tool("echo", {"text": f"{n}: {HARD}"})
            call("mcp call", lambda: got)


def post(path, body):
    import httpx2

    http = httpx2.Client(timeout=30)
    with http.stream("POST", f"{URL}{path}", json=body) as response:
        return response.status_code, response.read()


def ollama():
    tools = [{"type": "function", "function": {"name": "read_file", "parameters": SCHEMA}}]
    for stream in [False, True]:
        base = {"model": "llama3.2", "messages": [user()], "stream": stream}
        call(f"ollama stream={stream}", lambda: post("/api/chat", base))
        call(f"ollama think stream={stream}", lambda: post("/api/chat", {**base, "think": True}))
        call(f"ollama tools stream={stream}", lambda: post("/api/chat", {**base, "tools": tools}))


def cohere():
    tools = [{"type": "function", "function": {"name": "read_file", "parameters": SCHEMA}}]
    for stream in [False, True]:
        base = {"model": "command-a-03-2025", "messages": [user()], "stream": stream}
        call(f"cohere stream={stream}", lambda: post("/v2/chat", base))
        call(f"cohere tools stream={stream}", lambda: post("/v2/chat", {**base, "tools": tools}))


def array():
    """Gemini's stream as one JSON array, and Vertex's paths."""
    body = {"contents": [{"role": "user", "parts": [{"text": HARD}]}]}
    call("array", lambda: post("/v1beta/models/gemini-2.5-flash:streamGenerateContent", body))
    vertex = "/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro"
    call("vertex", lambda: post(f"{vertex}:generateContent", body))
    call("vertex stream", lambda: post(f"{vertex}:streamGenerateContent?alt=sse", body))


ALL = [openai, azure, anthropic, google, array, bedrock, mcp, ollama, cohere]

if __name__ == "__main__":
    wanted = sys.argv[2:] or [one.__name__ for one in ALL]
    for one in ALL:
        if one.__name__ in wanted:
            one()
    sys.exit(1 if failures else 0)
