// Chat Completions, Responses and the rest of OpenAI's API through OpenAI's SDK.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import OpenAI, { toFile } from 'openai';

import { Gateway, simulate } from './gateway.js';

const HELLO = [{ role: 'user', content: 'Hello!' }];
const PARAMETERS = {
  type: 'object',
  properties: { place: { type: 'string' } },
  required: ['place'],
  additionalProperties: false,
};
const WEATHER = { type: 'function', function: { name: 'weather', parameters: PARAMETERS, strict: true } };

let gateway;
let client;
before(async () => {
  gateway = await Gateway.start();
  client = new OpenAI({
    baseURL: `${gateway.url}/v1`,
    apiKey: gateway.token,
    maxRetries: 0,
    defaultHeaders: simulate(),
  });
});
after(() => gateway.stop());

async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

test('a chat completion, its headers and its record', async () => {
  const { data, response, request_id } = await client.chat.completions
    .create({ model: 'auto', messages: HELLO })
    .withResponse();
  assert.equal(data.object, 'chat.completion');
  assert.ok(data.choices[0].message.content);
  assert.equal(data.usage.completion_tokens, 8);
  assert.equal(response.headers.get('x-routerly-model'), 'simulated/chat');
  assert.equal(request_id, response.headers.get('x-request-id'));
  const record = await gateway.record(response.headers.get('x-routerly-trace-id'));
  assert.equal(record.outcome, 'success');
  assert.equal(record.inputTokens, data.usage.prompt_tokens);
});

test('a chat stream opens with the trace and withholds usage nobody asked for', async () => {
  const { data, response } = await client.chat.completions
    .create({ model: 'auto', messages: HELLO, stream: true })
    .withResponse();
  const [trace, ...chunks] = await collect(data);
  assert.equal(trace.type, 'trace');
  assert.deepEqual(trace.choices, []);
  assert.equal(trace.traceId, response.headers.get('x-routerly-trace-id'));
  assert.ok(chunks.every((chunk) => !chunk.usage));
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
  const record = await gateway.record(trace.traceId);
  assert.deepEqual([record.outcome, record.usageSource, record.outputTokens], ['success', 'reported', 8]);
});

test('a chat stream with usage', async () => {
  const chunks = await collect(
    await client.chat.completions.create({
      model: 'auto',
      messages: HELLO,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  assert.equal(chunks.filter((chunk) => chunk.usage).length, 1);
  assert.equal(chunks.at(-1).usage.completion_tokens, 8);
});

test('a chat stream without trace', async () => {
  const stream = await client.chat.completions.create(
    { model: 'auto', messages: HELLO, stream: true },
    { headers: { 'x-routerly-trace': 'none' } },
  );
  const chunks = await collect(stream);
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
});

test('the chat stream helper assembles the answer', async () => {
  const runner = client.chat.completions.stream({
    model: 'auto',
    messages: HELLO,
    stream_options: { include_usage: true },
  });
  let text = '';
  runner.on('content', (delta) => (text += delta));
  const answer = await runner.finalChatCompletion();
  assert.equal(answer.choices[0].message.content, text);
  assert.equal(answer.usage.completion_tokens, 8);
});

test('tools in chat, whole and as a stream', async () => {
  const ask = { model: 'auto', messages: HELLO, tools: [WEATHER], tool_choice: 'required' };
  const whole = await client.chat.completions.create(ask);
  const call = whole.choices[0].message.tool_calls[0];
  assert.equal(call.function.name, 'weather');
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ['place']);
  const streamed = await client.chat.completions.stream(ask).finalChatCompletion();
  assert.equal(streamed.choices[0].finish_reason, 'tool_calls');
  assert.deepEqual(Object.keys(JSON.parse(streamed.choices[0].message.tool_calls[0].function.arguments)), [
    'place',
  ]);
});

test('structured output in chat', async () => {
  const answer = await client.chat.completions.parse({
    model: 'auto',
    messages: HELLO,
    response_format: {
      type: 'json_schema',
      json_schema: { name: 'where', schema: PARAMETERS, strict: true },
    },
  });
  assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), ['place']);
});

test('several choices', async () => {
  const whole = await client.chat.completions.create({ model: 'auto', messages: HELLO, n: 3 });
  assert.deepEqual(
    whole.choices.map((choice) => choice.index),
    [0, 1, 2],
  );
});

test('a response', async () => {
  const { data, response } = await client.responses.create({ model: 'auto', input: 'Hello!' }).withResponse();
  assert.equal(data.status, 'completed');
  assert.ok(data.output_text);
  const record = await gateway.record(response.headers.get('x-routerly-trace-id'));
  assert.deepEqual([record.endpoint, record.outcome, record.outputTokens], ['responses', 'success', 8]);
});

test('a stream of a response', async () => {
  const events = await collect(await client.responses.create({ model: 'auto', input: 'Hello!', stream: true }));
  assert.equal(events[0].type, 'response.created');
  assert.equal(events.at(-1).type, 'response.completed');
  assert.deepEqual(
    events.map((event) => event.sequence_number),
    events.map((_, index) => index),
  );
});

test('the responses stream helper assembles the answer', async () => {
  const answer = await client.responses.stream({ model: 'auto', input: 'Hello!' }).finalResponse();
  assert.ok(answer.output_text);
});

test('tools in responses', async () => {
  const ask = {
    model: 'auto',
    input: 'Hello!',
    tools: [{ type: 'function', name: 'weather', parameters: PARAMETERS, strict: true }],
    tool_choice: 'required',
  };
  const whole = await client.responses.create(ask);
  const streamed = await client.responses.stream(ask).finalResponse();
  for (const answer of [whole, streamed]) {
    const call = answer.output.find((item) => item.type === 'function_call');
    assert.deepEqual(Object.keys(JSON.parse(call.arguments)), ['place']);
  }
});

test('models', async () => {
  const ids = (await collect(client.models.list())).map((model) => model.id);
  const names = ['chat', 'responses', 'anthropic', 'gemini'];
  assert.deepEqual(ids, ['routerly/auto', ...names.map((name) => `simulated/${name}`)]);
  for (const id of ids) assert.equal((await client.models.retrieve(id)).id, id);
  await assert.rejects(client.models.retrieve('nobody/nothing'), OpenAI.NotFoundError);
});

test('embeddings', async () => {
  const answer = await client.embeddings.create({ model: 'auto', input: ['one', 'two'], dimensions: 64 });
  assert.deepEqual(
    answer.data.map((item) => item.embedding.length),
    [64, 64],
  );
});

test('a large file', async () => {
  const size = 24 * 1024 * 1024;
  const file = await toFile(Buffer.alloc(size, 'x'), 'large.bin');
  const made = await client.files.create({ file, purpose: 'user_data' });
  assert.deepEqual([made.filename, made.bytes], ['large.bin', size]);
  assert.ok((await client.files.delete(made.id)).deleted);
});

test('audio', async () => {
  const file = await toFile(Buffer.alloc(20_000, 'RIFF'), 'a.wav');
  assert.ok((await client.audio.transcriptions.create({ model: 'whisper-1', file })).text);
  const spoken = await client.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'Hello there.' });
  assert.equal(spoken.headers.get('content-type'), 'audio/mpeg');
  assert.ok((await spoken.arrayBuffer()).byteLength >= 512);
});

test('images', async () => {
  const made = await client.images.generate({ model: 'gpt-image-1', prompt: 'a fox' });
  assert.equal(Buffer.from(made.data[0].b64_json, 'base64').subarray(1, 4).toString(), 'PNG');
});
