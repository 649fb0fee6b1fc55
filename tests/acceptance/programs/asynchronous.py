"""A user's program on the asynchronous client: several requests at once, one of them taken back. Prints what it saw."""

import asyncio
import json

import fal_client
from PIL import Image

ENDPOINT = "fal-ai/kolors/image-to-image"
arguments = {
    "prompt": "a capybara in sunglasses",
    "image_url": fal_client.encode_image(Image.radial_gradient("L").convert("RGB"), "png"),
    "image_size": {"width": 64, "height": 64},
    "num_inference_steps": 10,
}


async def main() -> None:
    doomed = await fal_client.submit_async(
        ENDPOINT, arguments=arguments | {"num_inference_steps": 150, "image_size": {"width": 512, "height": 512}}
    )
    outputs = await asyncio.gather(
        fal_client.run_async(ENDPOINT, arguments=arguments | {"seed": 1}),
        fal_client.subscribe_async(ENDPOINT, arguments=arguments | {"seed": 2}, with_logs=True),
        fal_client.subscribe_async(ENDPOINT, arguments=arguments | {"seed": 3}),
    )
    await doomed.cancel()
    kinds = [type(event).__name__ async for event in doomed.iter_events(with_logs=True, interval=0.05)]
    try:
        await doomed.get()
    except fal_client.FalClientHTTPError as error:
        print(
            json.dumps({"seeds": [output["seed"] for output in outputs], "end": kinds[-1], "status": error.status_code})
        )


asyncio.run(main())
