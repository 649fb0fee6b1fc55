// Files on their way up: storage.upload, more than 90 MB in parts, a Blob right in the input.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { ENDPOINT, bytesAt, fal, input } from "./connect.mjs";

const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
const photo = await readFile(process.env.IMAGE_FILE);

test("an upload comes back as it was", async () => {
  const url = await fal.storage.upload(new File([photo], "a photo.png", { type: "image/png" }));

  assert.equal(digest(await bytesAt(url)), digest(photo));
  assert.equal((await fetch(url)).headers.get("content-type"), "image/png");
});

test("an upload may have a life of its own", async () => {
  const url = await fal.storage.upload(new Blob([photo], { type: "image/png" }), { lifecycle: { expiresIn: "1h" } });

  assert.equal(digest(await bytesAt(url)), digest(photo));
});

test("a Blob in the input is uploaded and painted over", async () => {
  const blob = new Blob([photo], { type: "image/png" });

  const { data } = await fal.subscribe(ENDPOINT, { input: input({ image_url: blob }) });

  assert.equal(data.images.length, 1);
  assert.deepEqual([data.images[0].width, data.images[0].height], [64, 64]);
});

test("more than 90 MB go up in parts", async () => {
  const block = Buffer.alloc(1024 * 1024);
  for (let k = 0; k < block.length; k += 1) block[k] = (k * 31 + (k >> 8)) & 255;
  const blob = new Blob([...Array(93).fill(block), Buffer.from("the end")], { type: "application/octet-stream" });

  const url = await fal.storage.upload(blob);

  assert.equal(digest(await bytesAt(url)), digest(new Uint8Array(await blob.arrayBuffer())));
});
