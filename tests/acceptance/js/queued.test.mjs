// While the queue is full of other work: position, cancelling before the start, a start timeout.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ENDPOINT, awaitStatus, failure, fal, input } from "./connect.mjs";

test("a queued request has a position and is cancelled at once", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input: input() });
  const waiting = await fal.queue.status(ENDPOINT, { requestId });
  assert.equal(waiting.status, "IN_QUEUE");
  assert.ok(waiting.queue_position > 0);

  await fal.queue.cancel(ENDPOINT, { requestId });

  const status = await fal.queue.status(ENDPOINT, { requestId });
  assert.deepEqual([status.status, status.error_type], ["COMPLETED", "client_cancelled"]);
  assert.equal((await failure(fal.queue.result(ENDPOINT, { requestId }))).status, 499);
});

test("a start timeout is the user's own and is not retried", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input: input(), startTimeout: 1.5 });
  const status = await awaitStatus(requestId, "COMPLETED", 15_000);
  assert.equal(status.error_type, "request_timeout");

  const started = Date.now();
  const error = await failure(fal.queue.result(ENDPOINT, { requestId }));

  assert.equal(error.status, 504);
  assert.ok(error.isUserTimeout);
  assert.ok(Date.now() - started < 900, "the client retried");
});
