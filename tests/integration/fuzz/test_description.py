"""The API is what its own OpenAPI document says, for whatever the document allows and for what it does not."""

import uuid
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import negative_data_rejection

from api.openapi import document
from tests.integration.fuzz.conftest import KEY
from tests.integration.fuzz.shape import check

SCHEMA: Any = schemathesis.openapi.from_dict(document("http://127.0.0.1"))
OPERATIONS: dict[str, Any] = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
FEW = settings(
    max_examples=50,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
@pytest.mark.parametrize("label", OPERATIONS)
def test_a_call_is_answered_as_described(fuzzed: httpx.Client, label: str, mode: GenerationMode) -> None:
    @FEW
    @given(st.data())
    def calls(data: st.DataObject) -> None:
        case: Any = data.draw(OPERATIONS[label].as_strategy(generation_mode=mode))
        if mode is GenerationMode.POSITIVE and "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = uuid.uuid4().hex  # one of another call's is a conflict
        answer = case.call(base_url=str(fuzzed.base_url), headers=KEY, timeout=30)
        headers = {name.lower(): values[0] for name, values in answer.headers.items()}
        check(answer.status_code, headers, answer.content, case.method)
        # a body that breaks the schema is a request that has failed, as on fal: its submit is accepted
        case.validate_response(answer, excluded_checks=[negative_data_rejection])

    calls()
