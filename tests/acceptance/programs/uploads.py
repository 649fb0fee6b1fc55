"""A user's program that uploads by every way the client has, and paints over an upload. Prints the addresses.

Its one argument is a file of more than 100 MB.
"""

# pyright: reportUnknownMemberType=false

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import fal_client
from PIL import Image

ENDPOINT = "fal-ai/kolors/image-to-image"
picture = Image.radial_gradient("L").convert("RGB").resize((64, 64))

with tempfile.TemporaryDirectory() as directory:
    file = Path(directory) / "a photo.png"
    picture.save(file)
    content = file.read_bytes()
    links = {
        "bytes": fal_client.upload(content, "image/png", file_name="a photo.png"),
        "nameless": fal_client.upload(content, "image/png"),
        "file": fal_client.upload_file(file),
        "fallback": fal_client.upload_file(file, repository="fal"),
        "lifecycle": fal_client.upload(content, "image/png", lifecycle=fal_client.StorageSettings(expires_in="1h")),
        "async": asyncio.run(fal_client.upload_file_async(file)),
    }
painted = fal_client.upload_image(picture)
large = fal_client.upload_file(Path(sys.argv[1]))
output = fal_client.subscribe(
    ENDPOINT, arguments={"prompt": "a capybara", "image_url": links["file"], "num_inference_steps": 4}
)

print(json.dumps({"links": links, "content": content.hex(), "picture": painted, "large": large, "output": output}))
