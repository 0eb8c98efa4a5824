"""Results have names of their own."""

from pathlib import Path

from cascade_clip.batch.names import names_of_sources, result_names, source_of


def test_equal_stems_are_numbered() -> None:
    pictures = [Path("a/x.png"), Path("b/x.jpg"), Path("x-2.png"), Path("c/x.gif")]
    assert result_names(pictures, {}) == ["x", "x-2", "x-2-2", "x-3"]


def test_names_of_earlier_runs_stay() -> None:
    kept = {source_of(Path("b/x.jpg")): "x", source_of(Path("gone/y.jpg")): "y"}
    pictures = [Path("a/x.png"), Path("b/x.jpg"), Path("y.png")]
    assert result_names(pictures, kept) == ["x-2", "x", "y-2"]


def test_frames_have_other_names_than_pictures() -> None:
    film, picture = Path("film.mp4"), Path("film-000000.png")
    assert result_names([film, picture], {}) == ["film", "film-000000-2"]
    assert result_names([picture, film], {}) == ["film-000000", "film-2"]
    kept = names_of_sources([(source_of(film), "film-2-000007"), (source_of(picture), "x")])
    assert result_names([picture, Path("b/film.mkv"), film], kept) == ["x", "film", "film-2"]
