"""The endpoint's OpenAPI document, in the form in which fal publishes each of its endpoints.

Put together by hand around the schemas of `shared.wire.image`, so that it says what fal's tools look for
(`x-fal-metadata`, `x-fal-order-properties`, examples on every field) and nothing that does not hold here.
"""

from typing import cast

from pydantic import BaseModel

from shared.wire.image import Image, ImageSize, Input, Output
from shared.wire.queue import ENDPOINT

Json = dict[str, object]

ENDPOINT_ID = ENDPOINT
_INPUT = "KolorsImg2ImgInput"
_OUTPUT = "KolorsImg2ImgOutput"

_EXAMPLE_OUTPUT: Json = {
    "images": [
        {
            "url": "https://queue.example/files/results/0198/0.png",
            "content_type": "image/png",
            "width": 1024,
            "height": 1024,
        }
    ],
    "timings": {"inference": 3.2},
    "seed": 2_134_117_351,
    "has_nsfw_concepts": [False],
    "prompt": cast("list[str]", Input.model_fields["prompt"].examples)[0],
}


def document(server_url: str) -> Json:
    """The document, with `server_url` as the place where its paths are."""
    request: Json = {
        "name": "request_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
    path = f"/{ENDPOINT}/requests/{{request_id}}"
    return {
        "openapi": "3.0.4",
        "info": {
            "title": f"Queue OpenAPI for {ENDPOINT_ID}",
            "version": "1.0.0",
            "description": f"The OpenAPI schema for the {ENDPOINT_ID} queue.",
            "x-fal-metadata": {
                "endpointId": ENDPOINT_ID,
                "category": "image-to-image",
                "kind": "inference",
                "tags": ["realism", "editing", "diffusion"],
                "playgroundUrl": f"{server_url}/",
                "documentationUrl": f"{server_url}/openapi.json",
            },
        },
        "components": {"securitySchemes": {"apiKeyAuth": _KEY}, "schemas": _schemas()},
        "paths": {
            f"/{ENDPOINT}": {"post": _submit()},
            f"{path}/status": {"get": _status(request)},
            f"{path}/status/stream": {"get": _stream(request)},
            path: {"get": _result(request)},
            f"{path}/cancel": {"put": _cancel(request)},
        },
        "servers": [{"url": server_url}],
        "security": [{"apiKeyAuth": []}],
    }


_KEY: Json = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Fal Key"}
_LENGTH: Json = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_TIMEOUT: Json = {"type": "number", "minimum": 0.1, "exclusiveMinimum": True}
_LOGS: Json = {
    "name": "logs",
    "in": "query",
    "required": False,
    "schema": {"type": "number", "description": "Whether to include logs (`1`) in the response or not (`0`)."},
}
_PREVIEWS: Json = {
    "name": "previews",
    "in": "query",
    "required": False,
    "schema": {"type": "number", "description": "Whether to include a preview (`1`), where the workers make any."},
}


def _submit() -> Json:
    return {
        "parameters": [
            _query("fal_webhook", {"type": "string", "format": "uri"}, "Where to post the result."),
            _query("fal_max_queue_length", _LENGTH, "Refuse the call if more are waiting."),
            _header("X-Fal-Request-Timeout", _TIMEOUT, "Seconds within which it must have begun."),
            _header("X-Total-Timeout", _TIMEOUT, "Seconds within which it must be finished."),
            _header("X-Fal-Queue-Priority", {"type": "string", "enum": ["normal", "low"]}, "Its lane."),
            _header(
                "Idempotency-Key",
                {"type": "string", "minLength": 1, "maxLength": 255},
                "The same key and body: one request.",
            ),
        ],
        "requestBody": {"required": True, "content": _json(_ref(_INPUT))},
        "responses": {
            "200": _answer("The request was accepted.", _ref("QueueStatus")),
            **_refusals("400", "401", "413", "429", "503"),
            "422": _answer("The body is no JSON object.", _ref("ValidationError")),
        },
    }


def _status(request: Json) -> Json:
    return {
        "parameters": [request, _LOGS, _PREVIEWS],
        "responses": {
            "200": _answer("The request is complete.", _ref("QueueStatus")),
            "202": _answer("The request is waiting or running.", _ref("QueueStatus")),
            "404": _answer("There is no such request.", _ref("NotFound")),
            **_refusals("401", "503"),
        },
    }


def _stream(request: Json) -> Json:
    resume = _header("Last-Event-ID", {"type": "string"}, "Continue after this event.")
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "parameters": [request, _LOGS, _PREVIEWS, resume],
        "responses": {
            "200": {"description": "One status per change, until the request is complete.", "content": events},
            "204": {"description": "There is nothing after the given event and nothing will come."},
            "404": _answer("There is no such request.", _ref("NotFound")),
            **_refusals("401", "503"),
        },
    }


def _result(request: Json) -> Json:
    return {
        "parameters": [request],
        "responses": {
            "200": _answer("Result of the request.", _ref(_OUTPUT)),
            "400": _answer("The request is not complete yet.", _ref("RequestError")),
            "404": _answer("There is no such request.", _ref("NotFound")),
            "422": _answer("The input was not valid.", _ref("ValidationError")),
            "499": _answer("The request was cancelled.", _ref("RequestError")),
            **_refusals("401", "500", "503", "504"),
        },
    }


def _cancel(request: Json) -> Json:
    states = {"type": "string", "enum": ["CANCELLATION_REQUESTED", "ALREADY_COMPLETED", "NOT_FOUND"]}
    body: Json = {"type": "object", "required": ["status"], "properties": {"status": states}}
    return {
        "parameters": [request],
        "responses": {
            "202": _answer("The request will be cancelled.", body),
            "400": _answer("The request is complete.", body),
            "404": _answer("There is no such request.", body),
            **_refusals("401", "503"),
        },
    }


def _schemas() -> Json:
    return {
        "QueueStatus": _QUEUE_STATUS,
        _INPUT: _schema(Input, example={"image_size": "square_hd"}),
        _OUTPUT: _schema(Output, example=_EXAMPLE_OUTPUT),
        "Image": _schema(Image),
        "ImageSize": _schema(ImageSize),
        "ValidationError": _VALIDATION_ERROR,
        "RequestError": _REQUEST_ERROR,
        "NotFound": {
            "type": "object",
            "required": ["status"],
            "properties": {"status": {"type": "string", "enum": ["NOT_FOUND"]}},
        },
    }


def _schema(model: type[BaseModel], *, example: Json | None = None) -> Json:
    """A model's JSON schema as OpenAPI 3.0 and fal write it: no null, one level, the order of the fields."""
    schema = cast("Json", _plain(model.model_json_schema(ref_template="#/components/schemas/{model}")))
    schema.pop("$defs", None)
    properties = cast("dict[str, Json]", schema["properties"])
    for name, value in (example or {}).items():
        properties[name].setdefault("examples", [value])
    for field in properties.values():
        if "default" in field:
            field.setdefault("examples", [field["default"]])
    schema["x-fal-order-properties"] = list(properties)
    return schema


def _plain(node: object) -> object:
    if isinstance(node, list):
        return [_plain(item) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    plain = {key: _plain(value) for key, value in cast("Json", node).items()}
    if plain.get("default", "") is None:
        del plain["default"]
    if "exclusiveMinimum" in plain:
        plain |= {"minimum": plain["exclusiveMinimum"], "exclusiveMinimum": True}
    for key in ("anyOf", "oneOf"):
        if key in plain:
            choices = [choice for choice in cast("list[Json]", plain.pop(key)) if choice != {"type": "null"}]
            choices = [inner for choice in choices for inner in cast("list[Json]", choice.get("oneOf", [choice]))]
            choices = [inner for choice in choices for inner in cast("list[Json]", choice.get("anyOf", [choice]))]
            plain = {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **plain}
    return plain


_TEXT: Json = {"type": "string"}
_QUEUE_STATUS: Json = {
    "type": "object",
    "required": ["status", "request_id", "response_url", "status_url", "cancel_url", "logs", "metrics"],
    "properties": {
        "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
        "request_id": {"type": "string", "description": "The request id."},
        "response_url": {"type": "string", "description": "Where the result will be."},
        "status_url": {"type": "string", "description": "Where the status is."},
        "cancel_url": {"type": "string", "description": "Where to cancel it."},
        "logs": {
            "type": "array",
            "nullable": True,
            "items": {
                "type": "object",
                "required": ["message", "level", "source", "timestamp"],
                "properties": {
                    "message": _TEXT,
                    "level": _TEXT,
                    "source": _TEXT,
                    "timestamp": {"type": "string", "format": "date-time"},
                    "labels": {"type": "object", "additionalProperties": _TEXT},
                },
            },
        },
        "metrics": {
            "type": "object",
            "properties": {"inference_time": {"type": "number"}, "gpu_seconds": {"type": "number"}},
        },
        "queue_position": {"type": "integer", "description": "How many requests are ahead, while it waits."},
        "progress": {
            "type": "object",
            "properties": {
                "step": {"type": "integer"},
                "steps": {"type": "integer"},
                "eta_seconds": {"type": "number", "nullable": True},
            },
        },
        "preview": {
            "type": "object",
            "properties": {
                "step": {"type": "integer"},
                "url": {"type": "string", "description": "A small picture as a data: URI."},
            },
        },
        "error": {"type": "string", "description": "Why it failed."},
        "error_type": {"type": "string", "description": "The kind of failure."},
    },
}
_VALIDATION_ERROR: Json = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "anyOf": [
                _TEXT,
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["loc", "msg", "type"],
                        "properties": {
                            "loc": {"type": "array", "items": {"anyOf": [_TEXT, {"type": "integer"}]}},
                            "msg": _TEXT,
                            "type": _TEXT,
                            "url": _TEXT,
                            "ctx": {"type": "object"},
                            "input": {},
                        },
                    },
                },
            ]
        }
    },
}
_REQUEST_ERROR: Json = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": _TEXT, "error_type": _TEXT},
}
_REFUSALS = {
    "400": "A header or a query parameter makes no sense.",
    "401": "The key is not accepted.",
    "413": "The body is too large.",
    "429": "The queue is longer than `fal_max_queue_length`.",
    "500": "The request failed.",
    "503": "The service cannot answer right now, or the request failed for a reason that may pass.",
    "504": "The request was not started or not finished in the time given.",
}


def _refusals(*codes: str) -> Json:
    return {code: _answer(_REFUSALS[code], _ref("RequestError")) for code in codes}


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": _json(schema)}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _header(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}
