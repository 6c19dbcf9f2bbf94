// What both SDKs make of errors, before and within an answer.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { Gateway, simulate } from './gateway.js';

const HELLO = [{ role: 'user', content: 'Hello!' }];
const ASK = { model: 'simulated/anthropic', max_tokens: 64, messages: HELLO };

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

async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail('it did not reject');
}

const chat = (more, headers) =>
  openai.chat.completions.create({ model: 'simulated/chat', messages: HELLO, ...more }, { headers });
const responses = (more, headers) =>
  openai.responses.create({ model: 'simulated/responses', input: 'x', ...more }, { headers });
const messages = (more, headers) => claude.messages.create({ ...ASK, ...more }, { headers });

test('a wrong token', async () => {
  const stranger = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'sk-rt-wrong', maxRetries: 0 });
  const error = await rejection(stranger.models.list());
  assert.ok(error instanceof OpenAI.AuthenticationError);
  assert.equal(error.code, 'unauthorized');
  const other = new Anthropic({ baseURL: gateway.url, apiKey: 'sk-rt-wrong', maxRetries: 0 });
  const refused = await rejection(other.messages.create(ASK));
  assert.ok(refused instanceof Anthropic.AuthenticationError);
  assert.equal(refused.type, 'authentication_error');
});

const STATUSES = [
  [400, 'BadRequestError', 'invalid_request_error'],
  [404, 'NotFoundError', 'not_found_error'],
  [429, 'RateLimitError', 'rate_limit_error'],
  [500, 'InternalServerError', 'api_error'],
  [529, 'InternalServerError', 'overloaded_error'],
];
for (const stream of [false, true]) {
  for (const [status, name, type] of STATUSES) {
    test(`status ${status} of the provider, stream ${stream}`, async () => {
      const headers = simulate({ status, retryAfter: 7 });
      for (const call of [chat, responses]) {
        const error = await rejection(call({ stream }, headers));
        assert.ok(error instanceof OpenAI[name], `${error}`);
        assert.equal(error.status, status);
        if (status === 429) assert.equal(error.headers.get('retry-after'), '7');
        const record = await gateway.record(error.headers.get('x-routerly-trace-id'));
        assert.deepEqual([record.httpStatus, record.outcome], [status, 'error']);
      }
      const error = await rejection(messages({ stream }, headers));
      assert.ok(error instanceof Anthropic[name], `${error}`);
      assert.equal(error.type, type);
    });
  }
}

test("a refusal of the gateway's own key is not the client's fault", async () => {
  for (const call of [chat, responses, messages]) {
    assert.equal((await rejection(call({}, simulate({ status: 401 })))).status, 502);
  }
});

const WRONG = [
  { midStreamError: { afterEvents: 3, status: 503, message: 'no more room' } },
  { truncateAfterEvents: 3 },
  { closeAfterEvents: 3 },
];
for (const script of WRONG) {
  for (const call of [chat, responses, messages]) {
    test(`a broken stream raises: ${call.name}, ${Object.keys(script)[0]}`, async () => {
      const { data, response } = await call({ stream: true }, simulate(script)).withResponse();
      const seen = [];
      const error = await rejection(
        (async () => {
          for await (const item of data) seen.push(item);
        })(),
      );
      assert.ok(error instanceof OpenAI.APIError || error instanceof Anthropic.APIError, `${error}`);
      assert.ok(seen.length > 0);
      const record = await gateway.record(response.headers.get('x-routerly-trace-id'));
      assert.deepEqual([record.outcome, record.endedBy], ['error', 'provider']);
      const text = 'midStreamError' in script ? 'no more room' : record.errorMessage;
      assert.ok(error.message.includes(text), `${error.message} / ${text}`);
    });
  }
  test(`the helpers raise as well: ${Object.keys(script)[0]}`, async () => {
    const headers = simulate(script);
    const helpers = [
      () => openai.chat.completions.stream({ model: 'auto', messages: HELLO }, { headers }).finalChatCompletion(),
      () => openai.responses.stream({ model: 'auto', input: 'x' }, { headers }).finalResponse(),
      () => claude.messages.stream(ASK, { headers }).finalMessage(),
    ];
    for (const helper of helpers) await assert.rejects(helper);
  });
}

test('an answer that breaks off raises', async () => {
  for (const script of [{ resetAfterEvents: 0 }, { closeAfterEvents: 1 }]) {
    for (const call of [chat, responses, messages]) {
      assert.equal((await rejection(call({}, simulate(script)))).status, 502);
    }
  }
});
