"""The least that a recommendation over HTTP could cost; imports nothing of Clipwise.

FastAPI on uvicorn as it comes (uvloop, httptools), told to log nothing. A request's body is parsed
by orjson; one GET over redis.asyncio with hiredis brings bytes, as many as a user's stored features
have, and nobody decodes them; one ``inplace_predict`` with the champion's own trees runs inline on
float32 rows that lie ready, ``n`` by the model's inputs, computed from real features before; the
ten best are sorted out by NumPy and answered by orjson in the shape of the contract. XGBoost has
one thread. Nothing is checked, joined, ruled out, counted or logged. The environment says where
things are: FLOOR_REDIS (port), FLOOR_MODEL, FLOOR_INPUTS (.npy, requests x n x inputs).
"""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

KEY = "floor:"
VALID_TO = "2018-01-31T05:00:00Z"


def create_app():
    """The application; uvicorn calls this once a worker."""
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
        asked = orjson.loads(await request.body())
        if await store.get(KEY + asked["user_id"]) is None:
            return Response(status_code=404)
        scores = booster.inplace_predict(next(matrices))
        best = np.argsort(-scores)[: asked["k"]]
        answer = {
            "request_id": uuid4().hex,
            "user_id": asked["user_id"],
            "model": {"name": "coupon_ranker", "version": "1"},
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
