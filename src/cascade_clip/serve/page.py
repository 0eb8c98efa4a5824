"""The web page: its layout, and which action each click starts."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from cascade_clip.data.classes import ClassSet
from cascade_clip.serve.actions import MASKS, SCORES, STAGES, PageActions
from cascade_clip.serve.answers import DRAWN_SCENES_NOTE
from cascade_clip.serve.examples import draw_examples
from cascade_clip.serve.page_files import PageFiles
from cascade_clip.serve.service import Service
from cascade_clip.serve.temporary import EXAMPLES

CSS = Path(__file__).with_name("page.css")
SESSIONS = 1000
"""Open pages whose state is kept in memory."""
START_OPACITY = 0.6
"""Also in page.css."""
_SET_OPACITY = "(v) => { document.documentElement.style.setProperty('--mask-opacity', v); }"
_FONT = ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")
_NAMES_SHOWN = 40


@dataclass(frozen=True)
class _Inputs:
    picture: Any
    names: Any
    background: Any
    threshold: Any
    run: Any

    @property
    def fields(self) -> list[Any]:
        return [self.picture, self.names, self.background, self.threshold]


@dataclass(frozen=True)
class _Results:
    masks: Any
    classes: Any
    mask_file: Any
    record_file: Any
    score_name: Any
    score_map: Any
    score_scale: Any
    stages: Any
    tabs: dict[str, Any]

    @property
    def shown(self) -> list[Any]:
        return [self.masks, self.classes, self.mask_file, self.record_file, self.score_name]

    @property
    def details(self) -> list[Any]:
        return [self.score_map, self.score_scale, self.stages]


def page_theme() -> Any:
    """Light and dark, in fonts that every system has."""
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        font=[gr.themes.Font(name) for name in _FONT],
        font_mono=[gr.themes.Font(name) for name in _MONO],
    ).set(
        body_background_fill="*neutral_50",
        block_background_fill="white",
        block_background_fill_dark="*neutral_800",
        block_border_width="1px",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_padding="0",
        block_label_background_fill="*background_fill_primary",
        block_label_background_fill_dark="*background_fill_primary",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
    )


def build_page(service: Service, files: PageFiles) -> Any:
    """The page as `gradio.Blocks`.

    `files` takes its downloads and, in `examples`, drawn scenes for a model that knows them.
    """
    with gr.Blocks(title="cascade-clip", analytics_enabled=False) as page:
        gr.HTML(_header(service))
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                inputs = _inputs(service.segmenter.recipe.inference.threshold)
                examples = _examples(files.folder, inputs) if service.drawn_scenes_only else None
            with gr.Column(scale=8, min_width=420):
                results = _results(has_stages=len(service.views) > 1)
        gr.HTML(_footer(service))
        _connect(PageActions(service, files), inputs, results, examples)
    page.queue(default_concurrency_limit=None, api_open=False)
    page.state_session_capacity = SESSIONS
    page.has_launched = True  # gradio checks the files of a mounted page only if told so
    return page


def _inputs(uncertain: float) -> _Inputs:
    picture = gr.Image(
        sources=["upload", "clipboard"],
        label="Picture",
        height=300,
        buttons=["fullscreen"],
        elem_id="picture",
    )
    names = gr.Textbox(
        label="What to look for",
        info="Names with commas; sofa|couch is one class with two names.",
        placeholder="cat, sofa|couch, wall",
        lines=2,
        elem_id="names",
    )
    with gr.Accordion("Options", open=False):
        background = gr.Checkbox(
            label="Leave uncertain pixels without a class", elem_id="background"
        )
        threshold = gr.Slider(0.0, 1.0, uncertain, step=0.01, label="Uncertain: score below")
    run = gr.Button("Segment", variant="primary", elem_id="run")
    return _Inputs(picture, names, background, threshold, run)


def _examples(folder: Path, inputs: _Inputs) -> Any:
    drawn = folder / EXAMPLES
    drawn.mkdir()
    return gr.Examples(
        [[str(path), names] for path, names in draw_examples(drawn)],
        [inputs.picture, inputs.names],
        label="Drawn scenes to try",
        api_visibility="private",
        cache_examples=False,
        visible_columns=[0],
        elem_id="examples",
    )


def _results(has_stages: bool) -> _Results:
    with gr.Tabs():
        tabs = {MASKS: gr.Tab("Masks", id=MASKS)}
        with tabs[MASKS]:
            masks = gr.AnnotatedImage(label="Masks", show_label=False, elem_id="masks")
            with gr.Row(equal_height=True):
                opacity = gr.Slider(
                    0.0, 1.0, START_OPACITY, step=0.01, label="Opacity", scale=3, elem_id="opacity"
                )
                mask_file = _download("Mask (PNG)", "mask-file")
                record_file = _download("COCO (JSON)", "record-file")
            classes = gr.HTML(elem_id="classes")
        tabs[SCORES] = gr.Tab("Scores", id=SCORES)
        with tabs[SCORES]:
            score_name = gr.Dropdown([], label="Class", elem_id="score-name")
            score_map = gr.Image(
                show_label=False,
                interactive=False,
                format="png",
                buttons=["download", "fullscreen"],
                elem_id="score-map",
            )
            score_scale = gr.HTML()
        tabs[STAGES] = gr.Tab("Stages compared", id=STAGES, visible=has_stages)
        with tabs[STAGES]:
            stages = gr.HTML(elem_id="stages")
    opacity.input(None, opacity, None, js=_SET_OPACITY, api_visibility="private")
    return _Results(
        masks, classes, mask_file, record_file, score_name, score_map, score_scale, stages, tabs
    )


def _download(label: str, elem_id: str) -> Any:
    return gr.DownloadButton(
        label, interactive=False, size="md", scale=1, min_width=130, elem_id=elem_id
    )


def _connect(actions: PageActions, inputs: _Inputs, results: _Results, examples: Any) -> None:
    """Which click starts which action."""
    shown, open_tab = gr.State(None), gr.State(MASKS)
    starts = [inputs.run.click, inputs.names.submit]
    if examples is not None:
        starts.append(examples.load_input_event.then)
    asked = [shown, open_tab, results.score_name]
    for start in starts:
        start(
            actions.segment,
            inputs.fields,
            [shown, *results.shown],
            preprocess=False,  # gradio would open the picture before the limits are applied
            show_progress_on=results.masks,
            api_visibility="private",
        ).success(actions.details, asked, results.details, api_visibility="private")
    for name, tab in results.tabs.items():
        tab.select(
            lambda name=name: name, None, open_tab, queue=False, api_visibility="private"
        ).then(actions.details, asked, results.details, api_visibility="private")
    results.score_name.input(
        actions.scores,
        [shown, results.score_name],
        [results.score_map, results.score_scale],
        api_visibility="private",
    )


def _header(service: Service) -> str:
    note = ""
    classes = service.segmenter.trained_classes
    if service.drawn_scenes_only:
        note = f'<p class="banner"><b>Drawn scenes only.</b> {escape(DRAWN_SCENES_NOTE)}</p>'
    return (
        '<header class="head"><h1>cascade-clip</h1>'
        "<p>Name what is in a picture. Get a mask for every name, also for things whose masks no "
        "training ever showed.</p>"
        f"{note}{_about(service.model, classes)}</header>"
    )


def _about(model: str, classes: ClassSet | None) -> str:
    if classes is None:
        return f"<p>Model <b>{escape(model)}</b>: without training, any name by its words alone</p>"
    return (
        f"<details><summary>Model <b>{escape(model)}</b>: {len(classes.seen)} classes "
        "trained with masks, any other name by its words alone</summary>"
        f"<p><span class='seen'>masks in training</span> {_listed(classes.seen)}</p>"
        f"<p><span class='unseen'>name only</span> {_listed(classes.unseen) or 'none listed'}</p>"
        "</details>"
    )


def _listed(names: tuple[str, ...]) -> str:
    rest = len(names) - _NAMES_SHOWN
    listed = ", ".join(map(escape, names[:_NAMES_SHOWN]))
    return f"{listed} and {rest} more" if rest > 0 else listed


def _footer(service: Service) -> str:
    return (
        f'<footer class="foot">cascade-clip {escape(service.version)} · '
        '<a href="openapi.json">REST interface</a> · <a href="v1/model">model</a> · '
        '<a href="metrics">metrics</a></footer>'
    )
