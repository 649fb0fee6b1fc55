"""A user's program in which everything goes wrong: bad fields, cancelling, a client's timeout. Prints what it saw."""

import json
from collections.abc import Callable

import fal_client
from PIL import Image

ENDPOINT = "fal-ai/kolors/image-to-image"
arguments = {
    "prompt": "a capybara in sunglasses",
    "image_url": fal_client.encode_image(Image.radial_gradient("L").convert("RGB"), "png"),
}
long = arguments | {"num_inference_steps": 150, "strength": 1, "image_size": {"width": 256, "height": 256}}


def failure(call: Callable[[], object]) -> dict[str, object]:
    try:
        call()
    except fal_client.FalClientHTTPError as error:
        return {"status": error.status_code, "message": error.message, "type": error.error_type}
    except fal_client.FalClientTimeoutError as error:
        return {"timeout": error.timeout, "request_id": error.request_id}
    raise AssertionError("it was expected to fail")


handle = fal_client.submit(ENDPOINT, arguments=long)
for event in handle.iter_events(interval=0.02):
    if isinstance(event, fal_client.InProgress):
        break
handle.cancel()

print(
    json.dumps(
        {
            "fields": failure(lambda: fal_client.run(ENDPOINT, arguments={"prompt": "a", "strength": 3})),
            "queued fields": failure(lambda: fal_client.subscribe(ENDPOINT, arguments={"prompt": "a", "strength": 3})),
            "cancelled": failure(handle.get),
            "late": failure(handle.cancel),
            "timeout": failure(lambda: fal_client.subscribe(ENDPOINT, arguments=long, client_timeout=1.5)),
        }
    )
)
