// Every JavaScript SDK to a model of every dialect: text, calls and usage come through, streamed and not.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { z } from 'zod';

import { Gateway, simulate } from './gateway.js';

const MODELS = ['simulated/chat', 'simulated/responses', 'simulated/anthropic', 'simulated/gemini'];

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.stop());

/** Asks for a text; answers with it and its output tokens. */
const CLIENTS = {
  'openai chat': async (model, stream) => {
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.token, defaultHeaders: simulate() });
    const messages = [{ role: 'user', content: 'Hello!' }];
    const answer = stream
      ? await client.chat.completions
          .stream({ model, messages, stream_options: { include_usage: true } })
          .finalChatCompletion()
      : await client.chat.completions.create({ model, messages });
    return [answer.choices[0].message.content, answer.usage.completion_tokens];
  },
  'openai responses': async (model, stream) => {
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.token, defaultHeaders: simulate() });
    const request = { model, input: 'Hello!', store: false };
    const answer = stream
      ? await client.responses.stream(request).finalResponse()
      : await client.responses.create(request);
    return [answer.output_text, answer.usage.output_tokens];
  },
  anthropic: async (model, stream) => {
    const client = new Anthropic({ baseURL: gateway.url, apiKey: gateway.token, defaultHeaders: simulate() });
    const request = { model, max_tokens: 64, messages: [{ role: 'user', content: 'Hello!' }] };
    const answer = stream
      ? await client.messages.stream(request).finalMessage()
      : await client.messages.create(request);
    return [answer.content[0].text, answer.usage.output_tokens];
  },
  'google genai': async (model, stream) => {
    const httpOptions = { baseUrl: gateway.url, headers: simulate() };
    const client = new GoogleGenAI({ apiKey: gateway.token, httpOptions });
    const request = { model, contents: 'Hello!' };
    if (!stream) {
      const answer = await client.models.generateContent(request);
      return [answer.text, answer.usageMetadata.candidatesTokenCount];
    }
    let [text, tokens] = ['', 0];
    for await (const chunk of await client.models.generateContentStream(request)) {
      text += chunk.text ?? '';
      tokens = chunk.usageMetadata?.candidatesTokenCount ?? tokens;
    }
    return [text, tokens];
  },
};

/** The AI SDK's providers. */
const PROVIDERS = {
  'openai chat': () => createOpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.token }).chat,
  'openai responses': () => createOpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.token }).responses,
  anthropic: () => createAnthropic({ baseURL: `${gateway.url}/v1`, apiKey: gateway.token }),
  google: () => createGoogleGenerativeAI({ baseURL: `${gateway.url}/v1beta`, apiKey: gateway.token }),
};

const weather = tool({
  description: 'The weather of a place.',
  inputSchema: z.object({ place: z.string(), days: z.number().int() }),
  execute: async ({ place }) => `rain in ${place}`,
});

for (const model of MODELS) {
  describe(model, () => {
    for (const [name, ask] of Object.entries(CLIENTS)) {
      for (const stream of [false, true]) {
        test(`${name}, ${stream ? 'streamed' : 'whole'}`, async () => {
          const [text, tokens] = await ask(model, stream);
          assert.ok(text);
          assert.equal(tokens, 8);
        });
      }
    }

    for (const [name, provider] of Object.entries(PROVIDERS)) {
      test(`AI SDK, ${name}: a text`, async () => {
        const answer = await generateText({ model: provider()(model), prompt: 'Hello!', headers: simulate() });
        assert.ok(answer.text);
        assert.equal(answer.finishReason, 'stop');
        assert.equal(answer.usage.outputTokens, 8);
      });

      test(`AI SDK, ${name}: an agent with a tool, streamed`, async () => {
        // The first step calls, the second has the result and answers.
        const answer = streamText({
          model: provider()(model),
          prompt: 'How is the weather?',
          tools: { weather },
          prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }),
          stopWhen: stepCountIs(2),
          headers: simulate(),
          onError: ({ error }) => assert.fail(error),
        });
        const steps = await answer.steps;
        assert.deepEqual(
          steps.map((step) => step.finishReason),
          ['tool-calls', 'stop'],
        );
        assert.match(steps[0].toolResults[0].output, /^rain in /);
        assert.ok(await answer.text);
      });
    }
  });
}
