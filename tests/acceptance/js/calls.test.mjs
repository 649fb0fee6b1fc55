// What a program sees of a request: run, subscribe by polling and by streaming, the queue's calls one by one.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ENDPOINT, awaitStatus, bytesAt, fal, input, longInput } from "./connect.mjs";

const PNG = [0x89, 0x50, 0x4e, 0x47];

test("run returns a picture and the request's id", async () => {
  const { data, requestId } = await fal.run(ENDPOINT, { input: input() });

  assert.equal(data.seed, 7);
  assert.equal(data.prompt, input().prompt);
  assert.deepEqual(data.has_nsfw_concepts, [false]);
  assert.ok(data.timings.inference > 0);
  assert.deepEqual([...(await bytesAt(data.images[0].url)).slice(0, 4)], PNG);
  assert.match(requestId, /^[0-9a-f-]{36}$/);
});

test("subscribe polls, passes logs on and resolves with the output", async () => {
  const updates = [];
  let enqueued;
  const { data, requestId } = await fal.subscribe(ENDPOINT, {
    input: longInput({ num_inference_steps: 20 }),
    logs: true,
    pollInterval: 25,
    onEnqueue: (id) => (enqueued = id),
    onQueueUpdate: (update) => updates.push(update),
  });

  assert.equal(requestId, enqueued);
  assert.equal(data.images.length, 1);
  const messages = updates
    .filter((update) => update.status === "IN_PROGRESS")
    .flatMap((update) => update.logs.map((log) => log.message));
  assert.ok(messages.length > 0 && messages.every((message) => message.length > 0));
  assert.equal(updates.at(-1).status, "COMPLETED");
  assert.equal(updates.at(-1).request_id, requestId);
});

test("subscribe streams, and every log line comes once", async () => {
  const updates = [];
  const { data, requestId } = await fal.subscribe(ENDPOINT, {
    input: longInput({ num_inference_steps: 20 }),
    mode: "streaming",
    logs: true,
    onQueueUpdate: (update) => updates.push(structuredClone(update)),
  });

  assert.equal(data.seed, 7);
  assert.equal(updates.at(-1).status, "COMPLETED");
  const streamed = updates.at(-1).logs.map((log) => `${log.timestamp} ${log.message}`);
  const polled = (await fal.queue.status(ENDPOINT, { requestId, logs: true })).logs.map(
    (log) => `${log.timestamp} ${log.message}`,
  );
  assert.deepEqual(streamed, polled);
});

test("the queue's calls one by one", async () => {
  const submitted = await fal.queue.submit(ENDPOINT, { input: input() });
  const requestId = submitted.request_id;
  assert.ok(["IN_QUEUE", "IN_PROGRESS"].includes(submitted.status));
  assert.equal(typeof submitted.queue_position, "number");
  for (const name of ["response_url", "status_url", "cancel_url"]) assert.ok(submitted[name].includes(requestId));

  const completed = await awaitStatus(requestId, "COMPLETED");
  assert.ok(Array.isArray(completed.logs));
  assert.ok(completed.metrics.inference_time > 0);
  assert.equal((await fal.queue.status(ENDPOINT, { requestId })).logs, null);

  const { data, requestId: named } = await fal.queue.result(ENDPOINT, { requestId });
  assert.equal(data.seed, 7);
  assert.equal(named, requestId);
});

test("streamStatus ends with the completed status", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, {
    input: longInput({ num_inference_steps: 20 }),
  });
  const stream = await fal.queue.streamStatus(ENDPOINT, { requestId, logs: true });
  const events = [];
  stream.on("data", (event) => events.push(event));

  const last = await stream.done();

  assert.equal(last.status, "COMPLETED");
  assert.equal(last.request_id, requestId);
  const order = ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"];
  const seen = events.map((event) => order.indexOf(event.status));
  assert.ok(!seen.includes(-1));
  assert.deepEqual(seen, [...seen].sort());
});

test("streamStatus of a completed request ends at once", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input: input() });
  await awaitStatus(requestId, "COMPLETED");

  const last = await (await fal.queue.streamStatus(ENDPOINT, { requestId })).done();

  assert.equal(last.status, "COMPLETED");
});

test("every option of submit is accepted", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, {
    input: input(),
    priority: "low",
    hint: "warm-runner",
    startTimeout: 30,
    webhookUrl: process.env.HOOK_URL,
    headers: { "X-Fal-Store-IO": "0" },
    storageSettings: { expiresIn: "1h" },
  });
  await awaitStatus(requestId, "COMPLETED");

  assert.equal((await fal.queue.result(ENDPOINT, { requestId })).data.seed, 7);
  console.log(`hook of ${requestId}`);
});

test("sync_mode returns the picture inside the answer", async () => {
  const { data } = await fal.run(ENDPOINT, { input: input({ sync_mode: true }) });

  assert.match(data.images[0].url, /^data:image\/png;base64,/);
});
