"""The REST interface: `/v1/segment`, `/v1/model`, `/healthz`, `/metrics`, `/openapi.json`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import FormData, QueryParams

from cascade_clip.class_names import TypedClasses, parse_classes
from cascade_clip.errors import UserError
from cascade_clip.serve.access import Access, TokenGuard, add_sign_in
from cascade_clip.serve.answers import (
    ModelAnswer,
    SegmentAnswer,
    index_png,
    model_answer,
    segment_answer,
)
from cascade_clip.serve.browsers import BrowserGuard
from cascade_clip.serve.problems import ProblemAnswer, add_problem_handlers
from cascade_clip.serve.service import Service
from cascade_clip.serve.start import LOCAL_HOSTS
from cascade_clip.serve.uploads import BodyLimit
from cascade_clip.support.messages import did_you_mean

_Absent = SkipJsonSchema[None]
"""What a field that was not sent is: no null in the OpenAPI document, for forms can't hold one."""
_FIELDS = (
    "picture", "classes", "background", "background_names", "threshold", "thresholds", "format",
)  # fmt: skip
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": ProblemAnswer, "description": "The server wants a token."},
    413: {"model": ProblemAnswer, "description": "Too many bytes or pixels."},
    422: {
        "model": ProblemAnswer,
        "description": "An unreadable picture, unusable names or numbers.",
    },
    503: {"model": ProblemAnswer, "description": "Busy; `Retry-After` says when to come back."},
}
_SEGMENT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The masks, in the form that `format` asked for.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    408: {"model": ProblemAnswer, "description": "The upload took too long."},
    **_PROBLEMS,
}
_METRICS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus' text format.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    401: _PROBLEMS[401],
}


class Health(BaseModel):
    """The server is up."""

    status: Literal["ok"] = "ok"


def create_app(
    service: Service, access: Access | None = None, hosts: Sequence[str] = LOCAL_HOSTS
) -> FastAPI:
    """The server without its page; `access` is None where everybody may come in, `hosts` are the
    names that the server is known by."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="cascade-clip",
        version=service.version,
        summary="Pictures and class names in, masks out.",
        docs_url=None,  # FastAPI's pages load scripts from elsewhere, which `BrowserGuard` forbids
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,  # what generated clients call it
    )
    add_problem_handlers(app, service.metrics.count_error)
    # `TokenGuard` checks the token, before the body is read; this is for the OpenAPI document.
    wants_token = [] if access is None else [Depends(HTTPBearer(auto_error=False))]
    app.include_router(_model_routes(service), dependencies=wants_token)
    app.include_router(_metrics_route(service), dependencies=wants_token)
    app.include_router(_health_route())

    if access is not None:
        add_sign_in(app, access)
        app.add_middleware(TokenGuard, access=access, count_error=service.metrics.count_error)
    app.add_middleware(
        BodyLimit,
        limits=service.limits,
        count_error=service.metrics.count_error,
        place=service.place,
    )
    app.add_middleware(
        BrowserGuard, hosts=hosts, count_error=service.metrics.count_error
    )  # added last, so it stands outermost
    return app


def _model_routes(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.post(
        "/segment",
        summary="Segment a picture into classes that you name",
        response_model=SegmentAnswer,
        responses=_SEGMENT_ANSWERS,
    )
    async def segment(
        request: Request,
        picture: Annotated[
            UploadFile,
            File(
                description="PNG, JPEG, WebP, TIFF, GIF (first frame), BMP, AVIF or PPM.",
                json_schema_extra={"format": "binary"},  # by which generators know a file
            ),
        ],
        classes: Annotated[
            str | _Absent,
            Form(
                description="Names with commas, or a JSON list of names; | joins names of one "
                "class: 'cat, sofa|couch'. Default: those of the model's training."
            ),
        ] = None,
        background: Annotated[
            bool, Form(description="Leave uncertain pixels without a class.")
        ] = False,
        background_names: Annotated[
            str | _Absent,
            Form(
                description="Pixels that look most like one of these names have no class: names "
                "as in classes; usual: 26 common backgrounds; none. Default: usual for models that "
                "needed no training, with background or a single class, else none."
            ),
        ] = None,
        threshold: Annotated[
            float | _Absent,
            Form(
                ge=0.0,
                le=1.0,
                description="Score below which a pixel has no class, 0 to 1; implies background. "
                "With background alone that of the model's recipe, usually 0.5.",
            ),
        ] = None,
        thresholds: Annotated[
            str | _Absent,
            Form(description='Thresholds of single classes, as JSON: {"cat": 0.4}.'),
        ] = None,
        format: Annotated[
            Literal["coco-rle", "png"],
            Form(
                description="coco-rle: JSON with a COCO run-length code for each class. png: class "
                "indices as a palette PNG, 255 (with more than 255 classes 65535) for no class."
            ),
        ] = "coco-rle",
    ) -> SegmentAnswer | Response:
        async with service.request("rest"):
            _check_fields(request.query_params, await request.form())
            ask = service.ask(
                None if classes is None else _read_names("classes", classes),
                background=background,
                threshold=threshold,
                background_names=_read_background_names(background_names),
                thresholds=_read_thresholds(thresholds),
            )
            image = await service.read(await picture.read())
            result = await service.segment(image, ask)
            if format == "png":
                png = await asyncio.to_thread(index_png, result)
                return Response(png, media_type="image/png")
            note = service.note(image)
            return await asyncio.to_thread(segment_answer, result, [note] if note else [])

    @routes.get(
        "/model", summary="The model, its classes and the limits", responses={401: _PROBLEMS[401]}
    )
    async def model() -> ModelAnswer:
        return await asyncio.to_thread(model_answer, service)

    return routes


def _metrics_route(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.get(
        "/metrics",
        summary="Counters for Prometheus",
        response_class=Response,
        responses=_METRICS_ANSWERS,
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes


def _health_route() -> APIRouter:
    routes = APIRouter()

    @routes.get("/healthz", summary="Whether the server is up; never wants a token")
    async def healthz() -> Health:
        return Health()

    return routes


def _check_fields(parameters: QueryParams, form: FormData) -> None:
    """Raises `UserError` for whatever would silently say nothing: parameters in the address, and
    fields that are mistyped, repeated or empty."""
    if parameters:
        name = next(iter(parameters))
        raise UserError(
            f"'?{name}=' stands in the address; send {name} as a field of the form, with curl "
            f"-F {name}=..."
        )
    given: set[str] = set()
    for name, value in form.multi_items():
        if name not in _FIELDS:
            known = f"there are {', '.join(_FIELDS)}"
            raise UserError(f"unknown field '{name}'; {known}{did_you_mean(name, _FIELDS)}")
        if name in given:
            hint = {"picture": "send one picture a request", "classes": "join names by commas"}
            raise UserError(f"the field {name} came twice; {hint.get(name, 'send it once')}")
        if isinstance(value, str) and not value.strip():
            what = "; without it the classes of the model's training" if name == "classes" else ""
            raise UserError(f"the field {name} is empty; fill it or leave it out{what}")
        given.add(name)


def _read_background_names(text: str | None) -> bool | tuple[str, ...] | None:
    if text is None or text in ("usual", "none"):
        return None if text is None else text == "usual"
    return _read_names("background_names", text).names


def _read_names(field: str, text: str) -> TypedClasses:
    """Names with commas, or a JSON list of them."""
    if not text.lstrip().startswith("["):
        return parse_classes(text)
    try:
        return parse_classes(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{field} begins with [ but is no JSON list of names, e.g. ["cat", "sofa|couch"]'
        ) from error


def _read_thresholds(text: str | None) -> dict[str, float]:
    if text is None:
        return {}
    try:
        return dict(json.loads(text).items())
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            'thresholds are a JSON object of names and numbers, e.g. {"cat": 0.4}'
        ) from error
