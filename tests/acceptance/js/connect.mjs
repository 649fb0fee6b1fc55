// How a program points the unmodified client at a server of its own, both ways; and inputs for it.
// BASE_URL is the server, WAY is "proxy" or "middleware".

import { createFalClient } from "@fal-ai/client";

export const ENDPOINT = "fal-ai/kolors/image-to-image";
export const BASE = process.env.BASE_URL;
const CREDENTIALS = "acceptance:secret";
const ORIGINS = {
  "https://queue.fal.run": BASE,
  "https://fal.run": `${BASE}/run`,
  "https://rest.fal.ai": BASE,
};

function rewritten(url) {
  const { origin } = new URL(url);
  const target = ORIGINS[origin];
  if (target === undefined) throw new Error(`the client called a host that nobody told it about: ${url}`);
  return url.replace(origin, target);
}

export const fal =
  process.env.WAY === "proxy"
    ? createFalClient({ credentials: CREDENTIALS, proxyUrl: { url: `${BASE}/api/fal/proxy`, when: "always" } })
    : createFalClient({
        credentials: CREDENTIALS,
        requestMiddleware: async (request) => ({ ...request, url: rewritten(request.url) }),
      });

export function input(changes = {}) {
  return {
    prompt: "a capybara in sunglasses",
    image_url: process.env.IMAGE_URL,
    num_inference_steps: 4,
    strength: 0.5,
    seed: 7,
    ...changes,
  };
}

export function longInput(changes = {}) {
  return input({ num_inference_steps: 150, strength: 1, image_size: { width: 256, height: 256 }, ...changes });
}

export async function bytesAt(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status} for ${url}`);
  return new Uint8Array(await response.arrayBuffer());
}

// The error that a promise rejects with.
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was expected to fail");
}

// Polls until `condition` returns something true. The only place here where time passes by itself.
export async function until(condition, { withinMs, what }) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export function awaitStatus(requestId, wanted, withinMs = 30_000) {
  return until(
    async () => {
      const status = await fal.queue.status(ENDPOINT, { requestId, logs: true });
      return status.status === wanted ? status : undefined;
    },
    { withinMs, what: `request ${requestId} is ${wanted}` },
  );
}
