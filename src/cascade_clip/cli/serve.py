"""`serve`."""

from __future__ import annotations

import socket
import warnings
from functools import partial
from typing import Annotated

import typer

from cascade_clip.checkpoint.locate import EMBEDDED
from cascade_clip.checkpoint.options import AUTO, read_run_options
from cascade_clip.checkpoint.source import read_source
from cascade_clip.cli.options import (
    ClipOption,
    Device,
    InferenceSetting,
    MethodOption,
    ModelOption,
    PrecisionOption,
    Pretrained,
)
from cascade_clip.errors import UserError
from cascade_clip.serve.start import check_token, is_any, is_local, known_hosts, open_port, url
from cascade_clip.support.messages import install_line

LIMITS = "Request limits"


def serve(
    clip: ClipOption = None,
    method: MethodOption = None,
    model: ModelOption = EMBEDDED,
    pretrained: Pretrained = None,
    device: Device = AUTO,
    precision: PrecisionOption = "fp32",
    inference: InferenceSetting = None,
    host: Annotated[
        str, typer.Option(help="Address to bind to; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 7860,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name or address by which clients may reach this server; repeatable.",
            show_default="this machine's own, and --host",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="CASCADE_CLIP_TOKEN",
            help="Access token required from clients.",
            show_default="none: open access",
        ),
    ] = None,
    max_mb: Annotated[
        float, typer.Option(min=1, help="Maximum upload size, MB.", rich_help_panel=LIMITS)
    ] = 20.0,
    max_megapixels: Annotated[
        float,
        typer.Option(min=1, help="Maximum picture size, megapixels.", rich_help_panel=LIMITS),
    ] = 25.0,
    max_classes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum names per request, including synonyms.",
            rich_help_panel=LIMITS,
        ),
    ] = 256,
    max_name_length: Annotated[
        int, typer.Option(min=1, help="Maximum characters per name.", rich_help_panel=LIMITS)
    ] = 100,
    queue: Annotated[
        int,
        typer.Option(min=1, help="Maximum requests running or waiting.", rich_help_panel=LIMITS),
    ] = 32,
    timeout: Annotated[
        float, typer.Option(min=1, help="Request timeout in seconds.", rich_help_panel=LIMITS)
    ] = 60.0,
) -> None:
    """Serve a web page and a REST API for segmentation."""
    _require_web()
    run = read_run_options(device, precision, inference or ())
    source = read_source(model, clip, method, pretrained)
    if token is not None:
        check_token(token)

    from cascade_clip.serve.temporary import page_folder
    from cascade_clip.support.messages import Console

    # Mistakes show before the heavy imports.
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    with open_port(host, port) as bound, page_folder() as folder:
        names = [*(allowed_host or ()), *([] if is_any(host) else [host])]
        hosts = known_hosts(bound, names)
        console.print(f"loading {source.name} ...", markup=False)
        from cascade_clip.segmenter import ShrunkPicture, open_segmenter
        from cascade_clip.serve import server
        from cascade_clip.serve.access import SIGN_IN, Access
        from cascade_clip.serve.limits import Limits
        from cascade_clip.serve.service import Service
        from cascade_clip.support.messages import notice

        limits = Limits(max_mb, max_megapixels, max_classes, max_name_length, queue, timeout)
        access = None if token is None else Access(token)
        segmenter = open_segmenter(source, run)
        service = Service(segmenter, limits, model=source.name)
        app = server.page_app(service, access, folder, hosts)
        warnings.simplefilter("ignore", ShrunkPicture)  # the client is told
        if access is None and not is_local(host):
            notice(
                f"warning: whoever reaches {host} can use this server; with --token only those "
                "who know it"
            )
        if is_any(host) and not allowed_host:
            notice(
                "warning: clients on other machines are refused until --allowed-host says by which "
                f"name they ask for this server, e.g. --allowed-host {socket.gethostname()}"
            )
        address = url(bound) + ("" if access is None else SIGN_IN)
        line = f"serving {service.model} on {segmenter.device} at {address}  (Ctrl-C ends)"
        server.run(app, bound, announce=partial(console.print, line))


def _require_web() -> None:
    """Raises `UserError` unless the page's dependencies are installed and new enough."""
    from importlib.metadata import PackageNotFoundError, version

    hint = f"install it with: {install_line('web')}"
    try:
        gradio = version("gradio")
        version("prometheus-client")
    except PackageNotFoundError as error:
        raise UserError(f"the web page needs {error.name}, which is missing; {hint}") from error
    if int(gradio.partition(".")[0]) < 6:
        raise UserError(f"the web page needs gradio 6 or newer, found {gradio}; {hint}")
