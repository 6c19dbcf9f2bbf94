"""One question through four SDKs, and what each of them made of the answer, in the same words."""

import base64
import dataclasses
import json

import anthropic
import openai
from google import genai
from google.genai import types

from gateway import simulate

#: A red square.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["place", "days"],
    "additionalProperties": False,
}
DESCRIPTION = "The weather of a place."


@dataclasses.dataclass
class Call:
    id: str
    name: str
    arguments: dict


@dataclasses.dataclass
class Answer:
    """What an SDK read. `finish` is one of stop, tools, length."""

    text: str
    calls: list
    finish: str
    input_tokens: int
    output_tokens: int
    thinking: str
    headers: dict
    #: What the SDK wants back as the assistant's turn.
    turn: object


class Chat:
    """OpenAI's SDK, Chat Completions."""

    FINISH = {"stop": "stop", "tool_calls": "tools", "length": "length"}

    def __init__(self, gateway):
        self.client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.token, max_retries=0)

    def user(self, text, image=False):
        parts = [{"type": "text", "text": text}]
        if image:
            url = "data:image/png;base64," + base64.b64encode(PNG).decode()
            parts.append({"type": "image_url", "image_url": {"url": url}})
        return [{"role": "user", "content": parts}]

    def result(self, call, text):
        return [{"role": "tool", "tool_call_id": call.id, "content": text}]

    def ask(self, model, turns, *, tools=False, force=False, think=False, stream=False, limit=None, **settings):
        request = {"model": model, "messages": [{"role": "system", "content": "Be kind."}, *sum(turns, [])]}
        if tools:
            function = {"name": "weather", "description": DESCRIPTION, "parameters": SCHEMA}
            request["tools"] = [{"type": "function", "function": function}]
            request["tool_choice"] = "required" if force else "auto"
        if think:
            request["reasoning_effort"] = "high"
        if limit:
            request["max_completion_tokens"] = limit
        request["extra_headers"] = simulate(**settings)
        if stream:
            with self.client.chat.completions.stream(
                **request, stream_options={"include_usage": True}
            ) as events:
                thinking, headers = "", events._response.headers
                try:
                    for event in events:
                        for choice in event.chunk.choices if event.type == "chunk" else []:
                            thinking += getattr(choice.delta, "reasoning_content", None) or ""
                    answer = events.get_final_completion()
                except openai.LengthFinishReasonError as cut:
                    # The helper takes the limit for a mistake of its caller.
                    answer = cut.completion
        else:
            raw = self.client.chat.completions.with_raw_response.create(**request)
            answer, headers = raw.parse(), raw.headers
            thinking = getattr(answer.choices[0].message, "reasoning_content", None) or ""
        choice = answer.choices[0]
        calls = [
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in choice.message.tool_calls or []
        ]
        return Answer(
            choice.message.content or "",
            calls,
            self.FINISH[choice.finish_reason],
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
            thinking,
            headers,
            [choice.message.model_dump(exclude_none=True, exclude={"parsed"})],
        )


class Responses:
    """OpenAI's SDK, Responses."""

    def __init__(self, gateway):
        self.client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.token, max_retries=0)

    def user(self, text, image=False):
        parts = [{"type": "input_text", "text": text}]
        if image:
            url = "data:image/png;base64," + base64.b64encode(PNG).decode()
            parts.append({"type": "input_image", "image_url": url, "detail": "auto"})
        return [{"role": "user", "content": parts}]

    def result(self, call, text):
        return [{"type": "function_call_output", "call_id": call.id, "output": text}]

    def ask(self, model, turns, *, tools=False, force=False, think=False, stream=False, limit=None, **settings):
        request = {"model": model, "input": sum(turns, []), "instructions": "Be kind.", "store": False}
        request["include"] = ["reasoning.encrypted_content"]
        if tools:
            function = {"type": "function", "name": "weather", "description": DESCRIPTION}
            request["tools"] = [{**function, "parameters": SCHEMA, "strict": True}]
            request["tool_choice"] = "required" if force else "auto"
        if think:
            request["reasoning"] = {"effort": "high", "summary": "auto"}
        if limit:
            request["max_output_tokens"] = limit
        request["extra_headers"] = simulate(**settings)
        if stream:
            with self.client.responses.stream(**request) as events:
                # The helper's own last response knows no `response.incomplete`.
                ends = [event for event in events if event.type in ("response.completed", "response.incomplete")]
                answer, headers = ends[-1].response, events._response.headers
        else:
            raw = self.client.responses.with_raw_response.create(**request)
            answer, headers = raw.parse(), raw.headers
        calls = [
            Call(item.call_id, item.name, json.loads(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        ]
        thinking = "".join(
            part.text for item in answer.output if item.type == "reasoning" for part in item.summary
        )
        finish = {"completed": "tools" if calls else "stop", "incomplete": "length"}[answer.status]
        return Answer(
            answer.output_text,
            calls,
            finish,
            answer.usage.input_tokens,
            answer.usage.output_tokens,
            thinking,
            headers,
            [item.model_dump(exclude_none=True, exclude={"parsed_arguments", "status"}) for item in answer.output],
        )


class Messages:
    """Anthropic's SDK."""

    FINISH = {"end_turn": "stop", "tool_use": "tools", "max_tokens": "length"}

    def __init__(self, gateway):
        self.client = anthropic.Anthropic(base_url=gateway.url, api_key=gateway.token, max_retries=0)

    def user(self, text, image=False):
        parts = [{"type": "text", "text": text}]
        if image:
            source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
            parts.append({"type": "image", "source": source})
        return [{"role": "user", "content": parts}]

    def result(self, call, text):
        return [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": text}]}]

    def ask(self, model, turns, *, tools=False, force=False, think=False, stream=False, limit=None, **settings):
        request = {"model": model, "messages": sum(turns, []), "system": "Be kind.", "max_tokens": limit or 8192}
        if tools:
            request["tools"] = [{"name": "weather", "description": DESCRIPTION, "input_schema": SCHEMA}]
            request["tool_choice"] = {"type": "any" if force else "auto"}
        if think:
            request["thinking"] = {"type": "enabled", "budget_tokens": 2048}
        request["extra_headers"] = simulate(**settings)
        if stream:
            with self.client.messages.stream(**request) as events:
                answer, headers = events.get_final_message(), events.response.headers
        else:
            raw = self.client.messages.with_raw_response.create(**request)
            answer, headers = raw.parse(), raw.headers
        usage = answer.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return Answer(
            "".join(block.text for block in answer.content if block.type == "text"),
            [Call(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"],
            self.FINISH[answer.stop_reason],
            usage.input_tokens + cached,
            usage.output_tokens,
            "".join(block.thinking for block in answer.content if block.type == "thinking"),
            headers,
            [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]}],
        )


class Gemini:
    """Google's SDK."""

    def __init__(self, gateway):
        options = types.HttpOptions(base_url=gateway.url)
        self.client = genai.Client(api_key=gateway.token, http_options=options)

    def user(self, text, image=False):
        parts = [types.Part(text=text)]
        if image:
            parts.append(types.Part.from_bytes(data=PNG, mime_type="image/png"))
        return [types.Content(role="user", parts=parts)]

    def result(self, call, text):
        response = types.FunctionResponse(id=call.id, name=call.name, response={"output": text})
        return [types.Content(role="user", parts=[types.Part(function_response=response)])]

    def ask(self, model, turns, *, tools=False, force=False, think=False, stream=False, limit=None, **settings):
        config = {"system_instruction": "Be kind.", "http_options": {"headers": simulate(**settings)}}
        config["automatic_function_calling"] = {"disable": True}
        if tools:
            function = {"name": "weather", "description": DESCRIPTION, "parameters_json_schema": SCHEMA}
            config["tools"] = [{"function_declarations": [function]}]
            config["tool_config"] = {"function_calling_config": {"mode": "ANY" if force else "AUTO"}}
        if think:
            config["thinking_config"] = {"thinking_budget": 2048, "include_thoughts": True}
        if limit:
            config["max_output_tokens"] = limit
        request = {"model": model, "contents": sum(turns, []), "config": config}
        if stream:
            chunks = list(self.client.models.generate_content_stream(**request))
        else:
            chunks = [self.client.models.generate_content(**request)]
        parts = [
            part
            for chunk in chunks
            for candidate in chunk.candidates or []
            if not candidate.index
            for part in (candidate.content.parts if candidate.content else None) or []
        ]
        calls = [
            Call(part.function_call.id, part.function_call.name, part.function_call.args)
            for part in parts
            if part.function_call
        ]
        reasons = [c.finish_reason.name for chunk in chunks for c in chunk.candidates or [] if c.finish_reason]
        usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata][-1]
        finish = {"STOP": "tools" if calls else "stop", "MAX_TOKENS": "length"}[reasons[-1]]
        return Answer(
            "".join(part.text for part in parts if part.text and not part.thought),
            calls,
            finish,
            usage.prompt_token_count,
            (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            "".join(part.text for part in parts if part.text and part.thought),
            chunks[0].sdk_http_response.headers,
            [types.Content(role="model", parts=parts)],
        )


CLIENTS = {"chat": Chat, "responses": Responses, "messages": Messages, "gemini": Gemini}
