// What goes wrong, as the client's own error types: validation, cancellation, timeouts, unknown requests and paths.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, ValidationError } from "@fal-ai/client";
import { ENDPOINT, awaitStatus, failure, fal, input, longInput } from "./connect.mjs";

const NOBODY = "0197d2f4-5b2a-7000-8000-000000000000";

for (const way of ["run", "subscribe"]) {
  test(`${way} with bad fields is a ValidationError with each field`, async () => {
    const { prompt, ...bad } = input({ strength: 3, image_size: { width: 0, height: 64 } });
    const error = await failure(fal[way](ENDPOINT, { input: bad }));

    assert.ok(error instanceof ValidationError);
    assert.equal(error.status, 422);
    assert.equal(error.getFieldErrors("strength")[0].type, "less_than_equal");
    assert.equal(error.getFieldErrors("prompt")[0].type, "missing");
    assert.ok(error.fieldErrors.some((item) => item.loc.includes("image_size")));
    assert.match(error.requestId, /^[0-9a-f-]{36}$/);
  });
}

test("a picture that cannot be read is a ValidationError on image_url", async () => {
  const error = await failure(fal.subscribe(ENDPOINT, { input: input({ image_url: "data:image/png;base64,AAAA" }) }));

  assert.ok(error instanceof ValidationError);
  assert.equal(error.getFieldErrors("image_url")[0].type, "image_load_error");
});

test("cancelling while it runs", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input: longInput() });
  await awaitStatus(requestId, "IN_PROGRESS");
  await fal.queue.cancel(ENDPOINT, { requestId });
  const status = await awaitStatus(requestId, "COMPLETED", 10_000);
  assert.equal(status.error_type, "client_cancelled");

  const error = await failure(fal.queue.result(ENDPOINT, { requestId }));
  assert.ok(error instanceof ApiError);
  assert.equal(error.status, 499);
  assert.deepEqual(error.body, { detail: "Request was cancelled", error_type: "client_cancelled" });
});

test("cancelling too late, and what never was", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input: input() });
  await awaitStatus(requestId, "COMPLETED");

  const late = await failure(fal.queue.cancel(ENDPOINT, { requestId }));
  const lost = await failure(fal.queue.cancel(ENDPOINT, { requestId: NOBODY }));

  assert.ok(late instanceof ApiError && lost instanceof ApiError);
  assert.deepEqual([late.status, late.body], [400, { status: "ALREADY_COMPLETED" }]);
  assert.deepEqual([lost.status, lost.body], [404, { status: "NOT_FOUND" }]);
});

test("an unknown request", async () => {
  const status = await failure(fal.queue.status(ENDPOINT, { requestId: NOBODY }));
  const result = await failure(fal.queue.result(ENDPOINT, { requestId: NOBODY }));
  const stream = await failure((await fal.queue.streamStatus(ENDPOINT, { requestId: NOBODY })).done());

  for (const error of [status, result, stream]) {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.body], [404, { status: "NOT_FOUND" }]);
    assert.ok(error.requestId.length > 0);
  }
});

test("the result of a request that is not done", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input: longInput() });

  const error = await failure(fal.queue.result(ENDPOINT, { requestId }));
  await fal.queue.cancel(ENDPOINT, { requestId });
  await awaitStatus(requestId, "COMPLETED");

  assert.deepEqual([error.status, error.body], [400, { detail: "Request is still in progress" }]);
});

test("a timeout of subscribe takes the request back", async () => {
  let requestId;
  const error = await failure(
    fal.subscribe(ENDPOINT, { input: longInput(), timeout: 800, pollInterval: 50, onEnqueue: (id) => (requestId = id) }),
  );

  assert.match(error.message, /timed out/);
  assert.equal((await awaitStatus(requestId, "COMPLETED", 15_000)).error_type, "client_cancelled");
});

test("there is no streaming of this model", async () => {
  const error = await failure((await fal.stream(ENDPOINT, { input: input() })).done());

  assert.ok(error instanceof ApiError);
  assert.deepEqual([error.status, error.body], [404, { detail: "Path /stream not found" }]);
});
