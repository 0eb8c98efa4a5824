"""Plots and pictures for reports."""

import io
import math

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from cascade_clip.io.palette import IGNORED, SEEN_COLOUR, UNSEEN_COLOUR
from cascade_clip.report.plots import RIGHT, WRONG, error_map, iou_bars, png_of, training_curves


def test_error_map_marks_wrong_pixels_and_leaves_out_ignored_ones() -> None:
    truth = np.array([[0, 1, 255]])
    errors = np.asarray(error_map(np.array([[0, 0, 0]]), truth))
    assert [tuple(pixel) for pixel in errors[0]] == [RIGHT, WRONG, IGNORED]


def test_bars_are_sorted_within_seen_and_unseen() -> None:
    iou = {"cat": 0.2, "sky": 0.9, "car": 0.5, "sand": 0.7, "key": math.nan}
    figure = iou_bars({"ours": iou, "raw CLIP": iou}, unseen={"cat", "sand"})
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["sky", "car", "key", "sand", "cat"]
    widths = {name: bar.get_width() for name, bar in zip(names, axes.patches, strict=True)}
    assert widths == {"sky": 90, "car": 50, "key": 0, "sand": 70, "cat": 20}
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[2] != colours[3] == colours[4]
    assert SEEN_COLOUR != UNSEEN_COLOUR
    assert [text.get_text() for text in axes.texts] == ["90", "50", "absent", "70", "20"]
    assert all(text.get_position()[0] > 100 for text in axes.texts)  # clear of the open marks


def test_curves_skip_empty_cells_and_survive_no_rows() -> None:
    rows = [{"step": 1.0, "loss": 3.0}, {"step": 2.0, "val_h": 0.5}, {"step": 3.0, "loss": 2.0}]
    figure = training_curves({"a": rows, "b": []}, ("loss", "val_h"))
    loss, harmonic = figure.axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 3], [3, 2]]
    assert harmonic.lines[0].get_xydata().tolist() == [[2, 50]]


def test_a_figure_becomes_a_png() -> None:
    curve = {"a": [{"step": 1.0, "loss": 3.0}, {"step": 2.0, "loss": 2.0}]}
    figure = training_curves(curve, ("loss",))
    line = np.array([to_rgb(figure.axes[0].lines[0].get_color())]) * 255
    with Image.open(io.BytesIO(png_of(figure))) as image:
        assert image.format == "PNG"
        assert image.size == tuple(round(side * figure.dpi) for side in figure.get_size_inches())
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert (np.abs(pixels - line) < 8).all(axis=1).sum() > 100  # the curve is in it


def test_no_method_or_run_is_left_out_however_many_there_are() -> None:
    names = [f"method {number}" for number in range(9)]
    bars = iou_bars({name: {"cat": 0.5} for name in names}, unseen=["cat"])
    legend = bars.axes[0].get_legend()
    assert legend is not None
    shown = [text.get_text() for text in legend.get_texts()]
    assert all(any(name in text for text in shown) for name in names)
    curves = training_curves({name: [{"step": 1.0, "loss": 2.0}] for name in names})
    assert len(curves.axes[0].get_lines()) == len(names)
