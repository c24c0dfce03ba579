"""What can go wrong with a call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from .types import ProblemAt


class PlanfleetError(Exception):
    """Anything that goes wrong with a call."""

    #: The batch that was being submitted: submitting again under its id goes on where it stopped.
    batch_id: str | None = None


class UnreachableError(PlanfleetError):
    """No answer, or a part of one: whether the API has done what was asked is not known."""


class WaitTimeoutError(PlanfleetError, TimeoutError):
    """What was waited for goes on; it can be waited for again."""


class ApiError(PlanfleetError):
    """A refusal: RFC 9457 problem details. Programs match on `code`, which is stable."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[ProblemAt] = (),
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        mistakes = "".join(f"\n  {error['path']}: {error['message']}" for error in errors)
        super().__init__(f"{status} {code}: {detail}{mistakes}")
        self.status = status
        self.code = code
        self.detail = detail
        #: Everything that is wrong with a task, template or line.
        self.errors = list(errors)
        #: Seconds after which to come again.
        self.retry_after = retry_after
        #: By which the request is found in the API's log.
        self.request_id = request_id


class InvalidRequestError(ApiError):
    """400, 405, 413, 415, 422: the request is wrong, and stays so."""


class AuthenticationError(ApiError):
    """401: there are no credentials, or wrong ones."""


class PermissionDeniedError(ApiError):
    """403: the credentials do not suffice."""


class NotFoundError(ApiError):
    """404: it is not there, or another tenant's."""


class ConflictError(ApiError):
    """409: it cannot be done as things stand."""


class RateLimitError(ApiError):
    """429: more requests than one set of credentials may make."""


class UnavailableError(ApiError):
    """5xx, and 408: not possible just now."""


_BY_STATUS = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: UnavailableError,
    409: ConflictError,
    429: RateLimitError,
}

# Of an answer that is no problem document, as proxies give, so much is shown.
_TEXT_SHOWN = 300


def refusal(response: httpx.Response) -> ApiError:
    """What an answer that is no success says. Its body has been read."""
    problem = _problem(response)
    status = response.status_code
    usual = UnavailableError if status >= 500 else InvalidRequestError
    return _BY_STATUS.get(status, usual)(
        status,
        str(problem.get("code") or f"http_{status}"),
        str(problem.get("detail") or response.text[:_TEXT_SHOWN] or response.reason_phrase),
        errors=problem.get("errors") or (),
        retry_after=_seconds(response.headers.get("retry-after")),
        request_id=response.headers.get("x-request-id"),
    )


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    try:
        problem = json.loads(response.content)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _seconds(text: str | None) -> float | None:
    # The other form, a date, is sent by no planfleet.
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
