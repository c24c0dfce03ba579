"""A client for planfleet's HTTP API, to be called or awaited.

    from planfleet import Client

    with Client("http://127.0.0.1:8460") as fleet:
        document = fleet.run("Say hello.", timeout=60)
        print(document["state"], document["answer"])

`AsyncClient` has the same methods, to be awaited; those that give one thing after another
are iterated with `async for`. Each method is named as its operation in openapi.json.
"""

from ._errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    PlanfleetError,
    RateLimitError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)
from ._client import AsyncClient, Client
from ._program import Retry

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "Client",
    "ConflictError",
    "InvalidRequestError",
    "NotFoundError",
    "PermissionDeniedError",
    "PlanfleetError",
    "RateLimitError",
    "Retry",
    "UnavailableError",
    "UnreachableError",
    "WaitTimeoutError",
]
