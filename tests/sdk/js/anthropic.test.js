// Messages through Anthropic's SDK.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { Gateway, simulate } from './gateway.js';

const ASK = { model: 'auto', max_tokens: 64, messages: [{ role: 'user', content: 'Hello!' }] };
const WEATHER = {
  name: 'weather',
  input_schema: { type: 'object', properties: { place: { type: 'string' } }, required: ['place'] },
};
const THINKING = { ...ASK, max_tokens: 4096, thinking: { type: 'enabled', budget_tokens: 2048 } };

let gateway;
let client;
before(async () => {
  gateway = await Gateway.start();
  client = new Anthropic({
    baseURL: gateway.url,
    apiKey: gateway.token,
    maxRetries: 0,
    defaultHeaders: simulate(),
  });
});
after(() => gateway.stop());

test('a message, its headers and its record', async () => {
  const { data, response, request_id } = await client.messages.create(ASK).withResponse();
  assert.equal(data.type, 'message');
  assert.ok(data.content[0].text);
  assert.equal(data.usage.output_tokens, 8);
  assert.equal(request_id, response.headers.get('request-id'));
  const record = await gateway.record(response.headers.get('x-routerly-trace-id'));
  assert.deepEqual([record.endpoint, record.outcome, record.outputTokens], ['messages', 'success', 8]);
});

test('the token as bearer', async () => {
  const other = new Anthropic({
    baseURL: gateway.url,
    apiKey: null,
    authToken: gateway.token,
    defaultHeaders: simulate(),
  });
  assert.ok((await other.messages.create(ASK)).content[0].text);
});

test('events of a stream', async () => {
  const { data, response } = await client.messages.create({ ...ASK, stream: true }).withResponse();
  const kinds = [];
  for await (const event of data) kinds.push(event.type);
  assert.equal(kinds[0], 'message_start');
  assert.equal(kinds.at(-1), 'message_stop');
  const record = await gateway.record(response.headers.get('x-routerly-trace-id'));
  assert.deepEqual([record.outcome, record.usageSource, record.outputTokens], ['success', 'reported', 8]);
});

test('the stream helper assembles the message', async () => {
  const stream = client.messages.stream(ASK);
  let text = '';
  stream.on('text', (delta) => (text += delta));
  const message = await stream.finalMessage();
  assert.equal(message.content[0].text, text);
  assert.equal(message.usage.output_tokens, 8);
});

test('tools, whole and as a stream', async () => {
  const ask = { ...ASK, tools: [WEATHER], tool_choice: { type: 'any' } };
  const whole = await client.messages.create(ask);
  const streamed = await client.messages.stream(ask).finalMessage();
  for (const message of [whole, streamed]) {
    assert.equal(message.stop_reason, 'tool_use');
    const call = message.content.find((block) => block.type === 'tool_use');
    assert.deepEqual(Object.keys(call.input), ['place']);
  }
});

test('thinking, whole and as a stream', async () => {
  const whole = await client.messages.create(THINKING);
  const streamed = await client.messages.stream(THINKING).finalMessage();
  for (const message of [whole, streamed]) {
    assert.deepEqual(
      message.content.map((block) => block.type),
      ['thinking', 'text'],
    );
    assert.ok(message.content[0].signature);
  }
});

test('tokens are counted', async () => {
  const counted = await client.messages.countTokens({ model: 'auto', messages: ASK.messages });
  assert.ok(counted.input_tokens > 0);
});

test('models', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  const names = ['chat', 'responses', 'anthropic', 'gemini'];
  assert.deepEqual(ids, names.map((name) => `simulated/${name}`));
  assert.equal((await client.models.retrieve('simulated/chat')).type, 'model');
  await assert.rejects(client.models.retrieve('nobody/nothing'), Anthropic.NotFoundError);
});
