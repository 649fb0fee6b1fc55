"""A user's program: run, submit, status, iter_events, subscribe, result. Prints what it saw as JSON."""

import json

import fal_client
from PIL import Image

ENDPOINT = "fal-ai/kolors/image-to-image"
arguments = {
    "prompt": "a capybara in sunglasses",
    "image_url": fal_client.encode_image(Image.radial_gradient("L").convert("RGB"), "png"),
    "image_size": {"width": 64, "height": 64},
    "num_inference_steps": 30,
    "seed": 7,
}

output = fal_client.run(ENDPOINT, arguments=arguments)

handle = fal_client.submit(ENDPOINT, arguments=arguments, priority="low", hint="warm", start_timeout=60)
events = list(handle.iter_events(with_logs=True, interval=0.02))
bare = handle.status()
result = handle.get()

messages: list[str] = []


def on_queue_update(update: fal_client.Status) -> None:
    if isinstance(update, fal_client.InProgress):
        messages.extend(log["message"] for log in update.logs or [])


subscribed = fal_client.subscribe(
    ENDPOINT, arguments=arguments, with_logs=True, on_queue_update=on_queue_update, interval=0.02
)

print(
    json.dumps(
        {
            "link": output["images"][0]["url"],
            "addresses": [handle.response_url, handle.status_url, handle.cancel_url],
            "request_id": handle.request_id,
            "kinds": list(dict.fromkeys(type(event).__name__ for event in events)),
            "logs": [isinstance(bare, fal_client.Completed) and bare.logs, bool(getattr(events[-1], "logs", None))],
            "seeds": [output["seed"], result["seed"], subscribed["seed"]],
            "messages": messages,
            "by_id": [
                type(fal_client.status(ENDPOINT, handle.request_id)).__name__,
                fal_client.result(ENDPOINT, handle.request_id) == result,
            ],
        }
    )
)
