// Recorded answers of real providers, read by every SDK but the provider's own: each reads what that one does. The same
// for the AI SDK and its packages.
//
// The recordings are not part of the repository ($RECORDINGS, or `../shared/recordings`); without them this says so.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';

import { Gateway, waitFor } from './gateway.js';

globalThis.AI_SDK_LOG_WARNINGS = false;

/** Folder of the recordings of a dialect, and the client that speaks it. */
const FOLDERS = {
  openai_chat: 'chat',
  openai_responses: 'responses',
  anthropic_messages: 'messages',
  gemini: 'gemini',
};
const MODELS = {
  chat: ['openai', 'openai-chat', 'gpt-4.1', '/v1'],
  compatible: ['custom', 'openai-chat', 'llama', '/v1'],
  responses: ['openai', 'openai-responses', 'gpt-4.1', '/v1'],
  messages: ['anthropic', 'anthropic-messages', 'claude-sonnet-4-5', ''],
  gemini: ['gemini', 'gemini', 'gemini-2.5-flash', '/v1beta'],
};
/** What a client of another dialect reads otherwise, by design: see docs/dialects.md, "Answers". */
const OTHERWISE = [
  '"custom_tool_call"',
  '"inlineData"',
  '"image_generation_call"',
  '"images":',
  '"refusal":"',
  'response.refusal',
  '"function_call":{',
  '"server_error"',
  '"thinking":[{',
  '"audio":{',
  '"compaction"',
  // The gateway has it go on, and the player says the same again.
  '"pause_turn"',
  // Made in the background, and not ready.
  '"status":"queued"',
  // Calls of built-in tools, which the AI SDK takes for those of functions.
  '"tool_search_call"',
  // Several answers, which the AI SDK mixes.
  '"index":1,"message"',
  '"index":1,"delta"',
  '"index":1,"logprobs"',
  // An error in the middle, which the AI SDK does not see.
  '"message":"Token limit reached"',
];

function folder() {
  const places = process.env.RECORDINGS ? [process.env.RECORDINGS] : [];
  let parent = dirname(fileURLToPath(import.meta.url));
  while (!process.env.RECORDINGS && parent !== dirname(parent)) {
    parent = dirname(parent);
    places.push(join(parent, 'shared/recordings'));
  }
  return places.find((place) => existsSync(place));
}

function recordings(name) {
  const files = readdirSync(join(folder(), name)).filter((file) => file.endsWith('.json'));
  return files.flatMap((file) => {
    const recording = JSON.parse(readFileSync(join(folder(), name, file), 'utf8'));
    const { id, provider, streaming, request, response } = recording;
    const answer = streaming ? response.sse : response.body;
    if (!request || response.status !== 200 || !answer) return [];
    const plain = answer.replaceAll('": ', '":');
    return OTHERWISE.some((word) => plain.includes(word)) ? [] : [{ id, provider, streaming, answer }];
  });
}

// A provider that answers everything with the recording that is set.
let playing = { streaming: false, answer: '{}' };
const player = createServer((request, response) => {
  request.resume().on('end', () => {
    const { streaming, answer } = playing;
    response.writeHead(200, { 'content-type': streaming ? 'text/event-stream' : 'application/json' });
    response.end(answer);
  });
});

const HELLO = [{ role: 'user', content: 'Hello!' }];
const FINISH = {
  stop: 'stop',
  end_turn: 'stop',
  stop_sequence: 'stop',
  STOP: 'stop',
  tool_calls: 'tools',
  tool_use: 'tools',
  'tool-calls': 'tools',
  length: 'length',
  max_tokens: 'length',
  MAX_TOKENS: 'length',
};
/** A call is a call, whatever is said of the end. */
const ended = (word, calls) => (FINISH[word] === 'stop' && calls.length > 0 ? 'tools' : FINISH[word]);
const parsed = (text) => JSON.parse(text || '{}');

/** What each SDK reads at `place`. */
const READERS = {
  chat: async (place, model, stream) => {
    const client = new OpenAI({ baseURL: `${place.url}/v1`, apiKey: place.token, maxRetries: 0 });
    const request = { model, messages: HELLO };
    const answer = stream
      ? await client.chat.completions.stream(request).finalChatCompletion()
      : await client.chat.completions.create(request);
    const [{ message, finish_reason: finish }] = answer.choices;
    const calls = (message.tool_calls ?? []).map((call) => [call.function.name, parsed(call.function.arguments)]);
    return { text: message.content ?? '', calls, finish: ended(finish, calls) };
  },
  responses: async (place, model, stream) => {
    const client = new OpenAI({ baseURL: `${place.url}/v1`, apiKey: place.token, maxRetries: 0 });
    const request = { model, input: 'Hello!', store: false };
    let answer;
    if (stream) {
      for await (const event of await client.responses.create({ ...request, stream })) {
        if (['response.completed', 'response.incomplete'].includes(event.type)) answer = event.response;
        if (['error', 'response.failed'].includes(event.type)) throw new Error(JSON.stringify(event));
      }
    } else {
      answer = await client.responses.create(request);
    }
    const items = answer.output;
    const parts = items.flatMap((item) => (item.type === 'message' ? item.content : []));
    const calls = items.filter((item) => item.type === 'function_call').map((call) => [call.name, parsed(call.arguments)]);
    const finish = answer.status === 'incomplete' ? 'length' : 'stop';
    return { text: parts.map((part) => part.text ?? '').join(''), calls, finish: ended(finish, calls) };
  },
  messages: async (place, model, stream) => {
    const client = new Anthropic({ baseURL: place.url, apiKey: place.token, maxRetries: 0 });
    const request = { model, max_tokens: 4096, messages: HELLO };
    const answer = stream ? await client.messages.stream(request).finalMessage() : await client.messages.create(request);
    const calls = answer.content.filter((block) => block.type === 'tool_use').map(({ name, input }) => [name, input]);
    const text = answer.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
    return { text, calls, finish: ended(answer.stop_reason, calls) };
  },
  gemini: async (place, model, stream) => {
    const client = new GoogleGenAI({ apiKey: place.token, httpOptions: { baseUrl: place.url } });
    const request = { model, contents: 'Hello!' };
    const chunks = [];
    if (stream) {
      for await (const chunk of await client.models.generateContentStream(request)) chunks.push(chunk);
    } else {
      chunks.push(await client.models.generateContent(request));
    }
    const candidates = chunks.flatMap((chunk) => chunk.candidates ?? []).filter((candidate) => !candidate.index);
    const parts = candidates.flatMap((candidate) => candidate.content?.parts ?? []);
    const calls = parts.filter((part) => part.functionCall).map(({ functionCall: { name, args } }) => [name, args ?? {}]);
    const text = parts.map((part) => (part.thought ? '' : (part.text ?? ''))).join('');
    const finish = candidates.findLast((candidate) => candidate.finishReason)?.finishReason;
    return { text, calls, finish: ended(finish, calls) };
  },
};

/** The AI SDK's packages. */
const PACKAGES = {
  chat: ({ url, token }) => createOpenAI({ baseURL: `${url}/v1`, apiKey: token }).chat,
  responses: ({ url, token }) => createOpenAI({ baseURL: `${url}/v1`, apiKey: token }).responses,
  messages: ({ url, token }) => createAnthropic({ baseURL: `${url}/v1`, apiKey: token }),
  gemini: ({ url, token }) => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: token }),
};
const withAiSdk = (name) => async (place, model, stream) => {
  const request = { model: PACKAGES[name](place)(model), prompt: 'Hello!', maxRetries: 0, maxOutputTokens: 4096 };
  let failed;
  const answer = stream
    ? streamText({ ...request, onError: ({ error }) => (failed = error) })
    : await generateText(request);
  const [text, made, finish] = await Promise.all([answer.text, answer.toolCalls, answer.finishReason]);
  if (failed) throw failed;
  const calls = made.filter((call) => !call.providerExecuted).map((call) => [call.toolName, call.input || {}]);
  return { text, calls, finish: ended(finish, calls) };
};

let gateway;
const direct = { token: 'key' };
before(async () => {
  if (!folder()) return;
  await new Promise((listening) => player.listen(0, '127.0.0.1', listening));
  direct.url = `http://127.0.0.1:${player.address().port}`;
  gateway = await Gateway.start();
  await gateway.edit('config/models.json', (models) => {
    for (const [name, [provider, dialect, upstreamModelId, base]] of Object.entries(MODELS)) {
      const cost = { inputPerMillion: 1, outputPerMillion: 2 };
      const endpoint = direct.url + base;
      const known = { id: `up/${name}`, name, provider, dialect, apiKey: 'key', upstreamModelId };
      models.push({ ...known, endpoint, cost, contextWindow: 1_000_000 });
    }
  });
  await gateway.edit('config/projects.json', ([project]) => {
    project.models.push(...Object.keys(MODELS).map((name) => ({ modelId: `up/${name}` })));
  });
  const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.token, maxRetries: 0 });
  await waitFor("the player's models", () =>
    client.chat.completions.create({ model: 'up/gemini', messages: HELLO }).then(
      () => true,
      (error) => error.status !== 404,
    ),
  );
});
after(async () => {
  player.close();
  player.closeAllConnections();
  await gateway?.stop();
});

const attempt = (reading) => reading.catch((error) => ({ error }));

async function compare(name, own, through) {
  const model = FOLDERS[name];
  const wrong = [];
  let [compared, unreadable] = [0, 0];
  for (const recording of recordings(name)) {
    playing = recording;
    const original = await attempt(own(direct, MODELS[model][2], recording.streaming));
    // An input that was cut off is a text in some SDKs.
    const isCut = original.calls?.some(([, input]) => typeof input === 'string');
    if (original.error || !original.finish || isCut) {
      unreadable += 1;
      continue;
    }
    compared += 1;
    const isOpenai = ['openai', 'azure'].includes(recording.provider);
    const asked = model === 'chat' && !isOpenai ? 'up/compatible' : `up/${model}`;
    const seen = await attempt(through(gateway, asked, recording.streaming));
    const said = seen.error ? `${seen.error}` : JSON.stringify(seen);
    if (said !== JSON.stringify(original)) wrong.push(`${recording.id}: ${JSON.stringify(original)} is ${said}`);
  }
  assert.ok(compared > 2 * unreadable, `${compared} compared, ${unreadable} not readable`);
  assert.deepEqual(wrong, []);
}

for (const [name, own] of Object.entries(FOLDERS)) {
  for (const reader of Object.keys(READERS).filter((reader) => reader !== own)) {
    test(`${name}, read by ${reader}`, { skip: !folder() && 'no recordings' }, () =>
      compare(name, READERS[own], READERS[reader]),
    );
    test(`${name}, read by ${reader} in the AI SDK`, { skip: !folder() && 'no recordings' }, () =>
      compare(name, withAiSdk(own), withAiSdk(reader)),
    );
  }
}
