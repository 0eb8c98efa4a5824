"""Every error as JSON with a word for programs and a reason for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cascade_clip.config.wrong_values import wrong_value
from cascade_clip.serve.limits import Refused, shortened

_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}


class ProblemAnswer(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: str = Field(description="A word for programs.", examples=["too_many_pixels"])
    reason: str = Field(description="What came, what is allowed, what to do.")


def problem_response(refused: Refused) -> JSONResponse:
    """The answer to a refused request."""
    headers = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    problem = ProblemAnswer(error=refused.code, reason=str(refused))
    return JSONResponse(problem.model_dump(), status_code=refused.status, headers=headers)


def add_problem_handlers(app: FastAPI, count_error: Callable[[str, str], None]) -> None:
    """Makes `app` answer every error with a `ProblemAnswer`; `count_error(source, reason)` counts
    those that happen before a request is let in."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused)
        return problem_response(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        count_error("rest", "bad_request")
        reason = shortened(_reason(error.errors()[0]))
        return problem_response(Refused(422, "bad_request", reason))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "error")
        return problem_response(Refused(error.status_code, code, str(error.detail)))

    async def internal(request: Request, error: Exception) -> JSONResponse:
        reason = "something went wrong in the server; its log says what"
        return problem_response(Refused(500, "internal_error", reason))

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, internal)


def _reason(error: Mapping[str, Any]) -> str:
    """What is wrong with a form's field, from FastAPI's description of it."""
    field = ".".join(str(part) for part in error["loc"][1:])
    if field == "picture" and error["type"] == "missing":
        return (
            "picture is missing; send multipart/form-data with the file in the field picture, e.g. "
            "curl -F picture=@photo.jpg"
        )
    if field == "picture":
        return (
            "picture is text, not a file; with curl an @ stands before the file's name: "
            "-F picture=@photo.jpg"
        )
    return wrong_value(error, field)
