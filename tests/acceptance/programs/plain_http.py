"""A user's program over plain http: the client's own globals are pointed at the server named by the one argument."""

# pyright: reportUnknownMemberType=false

import json
import sys
import tempfile
from pathlib import Path

import fal_client
import fal_client.client
from PIL import Image

URL = sys.argv[1]
fal_client.client.RUN_URL_FORMAT = f"{URL}/run/"
fal_client.client.QUEUE_URL_FORMAT = f"{URL}/"
fal_client.client.REST_URL = fal_client.client.CDN_URL = URL

with tempfile.TemporaryDirectory() as directory:
    file = Path(directory) / "photo.png"
    Image.radial_gradient("L").convert("RGB").resize((64, 64)).save(file)
    inputs = [
        fal_client.upload_file(file),
        fal_client.upload_file(file, repository="fal"),
        fal_client.encode_file(file),
    ]
arguments = {"prompt": "a capybara", "num_inference_steps": 4, "seed": 7}
outputs = [
    fal_client.subscribe("fal-ai/kolors/image-to-image", arguments=arguments | {"image_url": url}) for url in inputs
]
print(json.dumps([output["images"][0]["url"] for output in outputs]))
