"""The floor of a recommendation over HTTP: the least it could cost, without any Clipwise code.

FastAPI on uvicorn with its defaults (uvloop, httptools), without logs. For each request:

- orjson parses the body;
- one GET over redis.asyncio with hiredis reads as many bytes as a user's stored features have,
  without decoding them;
- one ``inplace_predict`` with the champion's trees, on one thread, scores float32 rows computed
  before from real features, of shape ``n`` by the model's inputs;
- NumPy selects the ten best, and orjson writes an answer in the shape of the contract.

There are no checks, joins, rules, counters or logs. The environment variables are FLOOR_REDIS
(port), FLOOR_MODEL and FLOOR_INPUTS (.npy, requests x n x inputs).
"""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

KEY = "floor:"
VALID_TO = "2018-01-31T05:00:00Z"


def create_app():
    """Makes the application; uvicorn calls this once per worker."""
    import numpy as np
    import orjson
    import redis.asyncio
    import xgboost
    from fastapi import FastAPI, Request, Response

    inputs = np.load(os.environ["FLOOR_INPUTS"])
    booster = xgboost.Booster(model_file=os.environ["FLOOR_MODEL"])
    booster.set_param({"nthread": 1})
    booster.inplace_predict(inputs[0])
    matrices = itertools.cycle(list(inputs))
    store = redis.asyncio.Redis(port=int(os.environ["FLOOR_REDIS"]))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await store.aclose()

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.get("/readyz")
    async def ready() -> dict:
        return {"ready": True}

    @app.post("/v1/recommendations")
    async def recommend(request: Request) -> Response:
        body = orjson.loads(await request.body())
        if await store.get(KEY + body["user_id"]) is None:
            return Response(status_code=404)
        scores = booster.inplace_predict(next(matrices))
        best = np.argsort(-scores)[: body["k"]]
        answer = {
            "request_id": uuid4().hex,
            "user_id": body["user_id"],
            "model": {"name": "home_ranker", "version": "1"},
            "cold_start": False,
            "stale_features": [],
            "recommendations": [
                {
                    "coupon_id": "bench:26:10000085207",
                    "coupon_code": "10000085207",
                    "campaign_id": "bench",
                    "rank": place,
                    "score": score,
                    "propensity": 1.0,
                    "valid_to": VALID_TO,
                    "reasons": [],
                }
                for place, score in enumerate(scores[best].tolist(), 1)
            ],
            "removed": {"expired": 739},
        }
        return Response(orjson.dumps(answer), media_type="application/json")

    return app
