"""Picture book: a drawn world of 16 things on 6 kinds of stuff, made from (seed, index)."""

from cascade_clip.picturebook.contents import CLASSES, STUFF, THINGS, UNSEEN, Scene, SceneItem
from cascade_clip.picturebook.export import export_voc
from cascade_clip.picturebook.scene import SceneSettings, draw_scene, phrases

__all__ = [
    "CLASSES",
    "STUFF",
    "THINGS",
    "UNSEEN",
    "Scene",
    "SceneItem",
    "SceneSettings",
    "draw_scene",
    "export_voc",
    "phrases",
]
