import numpy as np
import pytest

from cascade_clip.picturebook.canvas import SUPERSAMPLE, Canvas
from cascade_clip.picturebook.geometry import box, disc, grown, stroke, towards
from cascade_clip.picturebook.layout import DRAW_THING
from cascade_clip.picturebook.palette import NAMED, WORN

PAPER = (1, 2, 3)


@pytest.mark.parametrize("name", sorted(DRAW_THING))
def test_every_painted_sample_is_labelled(name: str) -> None:
    for trial in range(12):
        rng = np.random.default_rng(trial)
        colour = NAMED[WORN[name][trial % len(WORN[name])]]
        drawing = DRAW_THING[name](rng, colour).drawing()
        canvas = Canvas(64, 64)
        canvas.picture.paste(PAPER, (0, 0, *canvas.size))
        canvas.draw_thing(drawing.moved(drawing.points * 0.4 + 0.5), 1, shadow=0.0)
        painted = (np.asarray(canvas.picture) != PAPER).any(axis=-1)
        assert np.array_equal(painted, np.asarray(canvas.labels) == 1)
        assert 0.1 < painted.mean() < 0.9


def test_shadow_darkens_the_paper_but_not_the_labels() -> None:
    rng = np.random.default_rng(0)
    drawing = DRAW_THING["apple"](rng, NAMED["red"]).drawing()
    drawing = drawing.moved(drawing.points * 0.3 + 0.5)
    plain, shaded = Canvas(48, 48), Canvas(48, 48)
    for canvas, shadow in ((plain, 0.0), (shaded, 0.4)):
        canvas.picture.paste((250, 250, 250), (0, 0, *canvas.size))
        canvas.draw_thing(drawing, 3, shadow)
    assert np.array_equal(plain.label_map(), shaded.label_map())
    before, after = plain.pixels(), shaded.pixels()
    outside = plain.label_map() == 0
    assert (after[outside] <= before[outside]).all()
    assert (after[outside] < before[outside] - 20).any()


def test_label_is_the_sample_at_the_centre() -> None:
    canvas = Canvas(16, 16)
    canvas.paint_region(((0, 0, 0), (0, 0, 0)), [], None, 0)
    canvas.paint_region(((9, 9, 9), (9, 9, 9)), [], box(0.0, 0.5, 1.0, 1.0), 1)
    assert (canvas.label_map() == (np.arange(16) >= 8)[:, None]).all()
    assert np.asarray(canvas.labels).shape == (16 * SUPERSAMPLE, 16 * SUPERSAMPLE)


def test_grown_pushes_every_polygon_outwards() -> None:
    square, ring = box(0.0, 0.0, 1.0, 1.0), disc(3.0, 0.0, 0.5)
    both = grown(
        np.concatenate([square[::-1], ring]), np.array([len(square), len(ring)]), width=0.1
    )
    assert np.allclose(np.sort(both[:4], axis=0), np.sort(box(-0.1, -0.1, 1.1, 1.1), axis=0))
    assert np.allclose(np.linalg.norm(both[4:] - (3.0, 0.0), axis=1), 0.6, atol=2e-3)


def test_stroke_is_as_wide_as_asked() -> None:
    outline = stroke([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)], 0.4)
    assert np.isclose(np.ptp(outline[:, 1]), 0.4)
    assert np.ptp(outline[:, 0]) > 2.0


def test_towards_stays_inside() -> None:
    inner = towards(disc(0.0, 0.0, 1.0), -0.5, -0.5, 0.8)
    assert np.linalg.norm(inner, axis=1).max() <= 1.0
