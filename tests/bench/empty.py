"""The yardstick: a FastAPI application whose handlers do nothing, served exactly as the API is served."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/empty")
async def poll() -> dict[str, str]:
    return {"status": "IN_QUEUE"}


@app.post("/empty")
async def submit() -> dict[str, str]:
    return {"status": "IN_QUEUE"}
