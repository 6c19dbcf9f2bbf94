// Clients that leave, stay, and come in crowds.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { Gateway, simulate, waitFor } from './gateway.js';

const HELLO = [{ role: 'user', content: 'Hello!' }];
const ASK = { model: 'auto', max_tokens: 64, messages: HELLO };
// Three events, and then nothing more: only a client that leaves ends such a stream.
const STALLED = simulate({ outputTokens: 64, stallAfterEvents: 3 });

let gateway;
let openai;
let claude;
before(async () => {
  gateway = await Gateway.start();
  const options = { apiKey: gateway.token, maxRetries: 0, defaultHeaders: simulate() };
  openai = new OpenAI({ ...options, baseURL: `${gateway.url}/v1` });
  claude = new Anthropic({ ...options, baseURL: gateway.url });
});
after(() => gateway.stop());

const STREAMS = {
  chat: (headers) =>
    openai.chat.completions.create({ model: 'auto', messages: HELLO, stream: true }, { headers }),
  responses: (headers) => openai.responses.create({ model: 'auto', input: 'x', stream: true }, { headers }),
  messages: (headers) => claude.messages.create({ ...ASK, stream: true }, { headers }),
};

for (const [name, call] of Object.entries(STREAMS)) {
  test(`a ${name} stream that the client leaves`, async () => {
    const { data, response } = await call(STALLED).withResponse();
    for await (const _ of data) break;
    const record = await gateway.record(response.headers.get('x-routerly-trace-id'));
    assert.deepEqual([record.outcome, record.endedBy], ['client_closed', 'client']);
  });

  test(`a ${name} stream that the client aborts`, async () => {
    const { data, response } = await call(STALLED).withResponse();
    for await (const _ of data) data.controller.abort();
    const record = await gateway.record(response.headers.get('x-routerly-trace-id'));
    assert.deepEqual([record.outcome, record.endedBy], ['client_closed', 'client']);
  });
}

test('a client that gives up before the answer', async () => {
  const controller = new AbortController();
  const call = openai.chat.completions.create(
    { model: 'chat', messages: HELLO },
    { headers: simulate({ ttftMs: 600_000 }), signal: controller.signal },
  );
  setTimeout(() => controller.abort(), 300);
  await assert.rejects(call, OpenAI.APIUserAbortError);
  const record = await waitFor('the record of the abandoned request', async () =>
    (await gateway.records()).find((record) => record.requestedModel === 'chat'),
  );
  assert.deepEqual([record.outcome, record.endedBy], ['client_closed', 'client']);
});

test('one connection serves many calls', async () => {
  const accepted = () => gateway.counter('routerly_connections_accepted_total');
  await openai.models.list();
  const start = await accepted();
  for (let round = 0; round < 5; round += 1) {
    await openai.chat.completions.create({ model: 'auto', messages: HELLO });
    await openai.embeddings.create({ model: 'auto', input: 'x', dimensions: 8 });
    for await (const _ of await STREAMS.responses());
    await claude.messages.stream(ASK).finalMessage();
    await assert.rejects(
      openai.chat.completions.create({ model: 'auto', messages: HELLO }, { headers: simulate({ status: 429 }) }),
    );
  }
  // The second look at the metrics needs one, and the pool of `fetch` may have begun with another.
  assert.ok((await accepted()) <= start + 2);
});

test('fifty streams at once', async () => {
  const headers = simulate({ outputTokens: 40, tokensPerSecond: 200 });
  const calls = Array.from({ length: 25 }, () => [
    openai.chat.completions
      .stream({ model: 'auto', messages: HELLO, stream_options: { include_usage: true } }, { headers })
      .finalChatCompletion()
      .then((answer) => answer.usage.completion_tokens),
    claude.messages
      .stream(ASK, { headers })
      .finalMessage()
      .then((answer) => answer.usage.output_tokens),
  ]).flat();
  assert.deepEqual(await Promise.all(calls), Array(50).fill(40));
});
