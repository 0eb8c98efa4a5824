"""Pictures and class names in, segmentations out."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack, overload

import torch

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.checkpoint.locate import EMBEDDED, is_exported
from cascade_clip.checkpoint.options import RunOptions
from cascade_clip.checkpoint.publish import Publishable
from cascade_clip.checkpoint.source import ModelSource
from cascade_clip.checkpoint.training_free import (
    Method,
    TrainingFreeBundle,
    load_training_free,
    read_clip,
)
from cascade_clip.class_names import TypedClasses, classes_named, parse_classes
from cascade_clip.clip.load import FrozenClip
from cascade_clip.config import Recipe
from cascade_clip.config.base import PrecisionChoice
from cascade_clip.config.recipes import with_inference
from cascade_clip.config.training_free import DEFAULT_METHOD
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.export.bundle import Engine, ExportedBundle, FixedVocabulary, load_any
from cascade_clip.export.network import device_for
from cascade_clip.inference.execution import ExecutionOptions, check_execution, prepare_network
from cascade_clip.inference.predictor import MAX_WINDOWS, Predictor
from cascade_clip.inference.query import (
    Query,
    QueryOptions,
    build_query,
    check_options,
    read_templates,
)
from cascade_clip.io.images import Picture, RGBArray, picture_names, read_picture
from cascade_clip.io.palette import class_colours
from cascade_clip.model.fast.compiling import CompileChoice, wants_compile
from cascade_clip.model.protocol import MaskNetwork
from cascade_clip.segmentation import Segmentation, make_legend
from cascade_clip.support.devices import choose_device, usable_device
from cascade_clip.support.messages import warn_caller

Classes = str | Sequence[str] | TypedClasses
"""Names as a list or one string with commas; `sofa|couch` is one class with two names."""

AnyPicture = TypeVar("AnyPicture", bound=Picture)
Pictures = list[AnyPicture] | tuple[AnyPicture, ...]
"""Of any one kind, so that a `list[Path]` is one."""


class ShrunkPicture(UserWarning):
    """A very long picture was shrunk before it went into the network."""


class Segmenter(Publishable):
    """Segments pictures into classes named at run time.

    `network` stands on `clip`; `classes` are those of its training, if there was any; `recipe` says
    how pictures are prepared. Other options as in `ExecutionOptions`; lower precisions work on a
    copy of the network.
    """

    clip: FrozenClip | FixedVocabulary

    def __init__(
        self,
        network: MaskNetwork,
        clip: FrozenClip | FixedVocabulary,
        classes: ClassSet | None,
        recipe: Recipe,
        *,
        templates: str | Sequence[str] | None = None,
        metrics: Mapping[str, float | None] | None = None,
        device: str | torch.device = "cpu",
        max_windows: int = MAX_WINDOWS,
        precision: PrecisionChoice = "fp32",
        compile: CompileChoice = False,
        inference: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = usable_device(device)
        network, self.precision = prepare_network(network, self.device, precision)
        self.clip = clip
        self.trained_classes = classes
        self.default_classes: TypedClasses | None = None
        if isinstance(clip, FixedVocabulary):
            self.default_classes = clip.classes
        elif classes is not None:
            self.default_classes = classes_named(classes.prompts)
        recipe = with_inference(recipe, inference) if inference else recipe
        self.recipe = recipe
        self.templates = read_templates(templates or recipe.data.templates)
        self.metrics = dict(metrics or {})
        normalisation = recipe.data.normalisation(clip.normalisation)
        self.predictor = Predictor(
            network, recipe.inference, normalisation, self.device, max_windows
        )
        self.network = self.predictor.network
        if wants_compile(compile, self.device):
            self.network.compile()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = EMBEDDED,
        *,
        revision: str | None = None,
        pretrained: str | None = None,
        engine: Engine | None = None,
        **options: Unpack[ExecutionOptions],
    ) -> Segmenter:
        """A trained model.

        Args:
            model: a model or run folder; "picturebook", which comes with the package and knows
                drawn scenes only; `organisation/model` on the Hugging Face hub; or an .onnx or .pt2
                file of `cascade-clip export`. (torch.export unpickles .pt2 files: open only those
                from people you trust.)
            revision: branch, tag or commit of a model on the hub.
            pretrained: where the weights of its CLIP lie now: a file, a folder in open_clip's
                layout, or a tag; None: where they lay in training.
            engine: "onnxruntime" for .onnx files, "torch" for all others; None: what fits.
            options: see `ExecutionOptions`.

        Raises `UserError` if there is no such model, device, precision or other option, or it
        stands on another CLIP.
        """
        if not isinstance(model, (str, os.PathLike)):
            raise UserError(
                f"a model is a path or a name, e.g. '{EMBEDDED}'; got {reprlib.repr(model)}"
            )
        bundle = load_any(
            Path(model),
            check_execution(exported=is_exported(model), **options),
            revision=revision,
            pretrained=pretrained,
            engine=engine,
            precision=options.get("precision", "fp32"),
        )
        return cls.of(bundle, **options)

    @classmethod
    def from_clip(
        cls,
        clip: str | Path,
        pretrained: str | Path | None = None,
        *,
        method: Method = DEFAULT_METHOD,
        **options: Unpack[ExecutionOptions],
    ) -> Segmenter:
        """Any CLIP with a method that needs no training, for photographs.

        Args:
            clip: an architecture of open_clip; or, without `pretrained`, architecture and tag
                (`ViT-B-16/openai`), a weights file, or `local-dir:FOLDER` in open_clip's layout.
            pretrained: a tag of open_clip, such as "openai", or a weights file.
            method: "sc-clip", the best one as a rule; "naclip", "clearclip", "sclip", "resclip",
                "gem", "maskclip" or "clip"; or settings with a `kind`.
            options: see `ExecutionOptions`.

        Raises `UserError` for an unknown CLIP, method or other option, and weights that can't be
        read or downloaded.
        """
        check_execution(**options)
        return cls.of(load_training_free(read_clip(clip, pretrained), method), **options)

    @classmethod
    def of(
        cls,
        bundle: Bundle | ExportedBundle | TrainingFreeBundle,
        **options: Unpack[ExecutionOptions],
    ) -> Segmenter:
        """A model that is loaded already. Raises `UserError` for options that can't be met."""
        return cls(
            bundle.network,
            bundle.clip,
            bundle.classes,
            bundle.recipe,
            templates=bundle.templates,
            metrics=bundle.metrics,
            **options,
        )

    @overload
    def __call__(
        self, images: Picture, classes: Classes | None = None, **options: Unpack[QueryOptions]
    ) -> Segmentation: ...

    @overload
    def __call__(
        self,
        images: Pictures[AnyPicture],
        classes: Classes | None = None,
        **options: Unpack[QueryOptions],
    ) -> list[Segmentation]: ...

    def __call__(
        self,
        images: Picture | Pictures[AnyPicture],
        classes: Classes | None = None,
        **options: Unpack[QueryOptions],
    ) -> Segmentation | list[Segmentation]:
        """Segments one picture, or a list of them, at original size.

        Args:
            images: a path, a PIL image, an array (H,W,3) of uint8 or a tensor (3,H,W) of uint8 or
                of floats in [0, 1]; or a list of these.
            classes: names, as a list or one string with commas; `sofa|couch` is one class with two
                names. None: the classes of the model's training.
            background: True leaves pixels without a class whose best score is under the recipe's
                `inference.threshold` (0.5 unless it says otherwise), or with a training-free method
                those that look like one of 26 usual backgrounds; a number is another threshold,
                0..1.
            background_names: pixels that look most like one of these names have no class; True: 26
                usual ones; None: these for a single class of a training-free method.
            thresholds: such thresholds for single classes, by name.
            class_offsets: added to the scores of single classes before the arg-max, by name:
                positive values widen a class, negative ones narrow it.
            templates: "single", "many", "imagenet", or texts with `{}` in the place of the name.
                None: as in training.

        The seen-score offset of the recipe is subtracted from names the model was trained on (apart
        from case, spaces and plural); `legend` of the result says which. Thresholds look at scores
        without offsets.

        Raises `UserError` for unreadable pictures and unusable names, thresholds or templates.
        """
        query = self.query(classes, **options)
        if isinstance(images, (list, tuple)):
            return self.segment_batch(images, query)
        return self.segment(images, query)

    def query(self, classes: Classes | None = None, **options: Unpack[QueryOptions]) -> Query:
        """What a call asks of its pictures, checked and encoded once: for many calls of `segment`.

        Arguments and errors as in a call.
        """
        check_options(options)
        if isinstance(self.clip, FixedVocabulary) and options.get("background_names") is None:
            options["background_names"] = False  # its file knows the classes alone
        trained = self.trained_classes
        return build_query(
            partial(self.clip.text_encoder, average=self.recipe.data.average_templates),
            self.read_classes(classes),
            trained=() if trained is None else trained.trained_names,
            trained_templates=self.templates,
            inference=self.recipe.inference,
            device=self.device,
            **options,
        )

    def read_classes(self, classes: Classes | None) -> TypedClasses:
        """The names that are asked for; None: those of the model's training.

        Raises `UserError` for unusable names, and for none where there was no training.
        """
        typed = self.default_classes if classes is None else parse_classes(classes)
        if typed is None:
            raise UserError("this model was not trained: name the classes, e.g. 'cat, sofa|couch'")
        return typed

    def segment(self, picture: Picture, query: Query, index: int = 0) -> Segmentation:
        """Segments one picture; without a file name it is called `picture-INDEX`.

        Raises `UserError` for an unreadable picture.
        """
        return self._results([read_picture(picture)], [picture_names(picture, index)], query)[0]

    def segment_batch(self, pictures: Sequence[Picture], query: Query) -> list[Segmentation]:
        """Segments pictures, and gives the results in their order.

        Those of equal size go through the network together, as many as fit into one pass of
        windows. Without file names they are called by their index.

        Raises `UserError` for an unreadable picture; none is segmented then.
        """
        if isinstance(pictures, (str, bytes)) or not isinstance(pictures, Iterable):
            raise UserError(f"segment_batch takes a list of pictures, got {reprlib.repr(pictures)}")
        pictures = list(pictures)
        names = [picture_names(picture, index) for index, picture in enumerate(pictures)]
        return self._results([read_picture(picture) for picture in pictures], names, query)

    def segment_decoded(self, images: Sequence[RGBArray], query: Query) -> list[Segmentation]:
        """As `segment_batch`, for pictures that `cascade_clip.io.images.read_picture` has read:
        arrays (H, W, 3) of uint8, which are neither decoded nor copied again."""
        return self._results(images, [picture_names(image, 0) for image in images], query)

    def _results(
        self, images: Sequence[RGBArray], names: Sequence[tuple[str, str | None]], query: Query
    ) -> list[Segmentation]:
        """`names` are each picture's own and that of its file, if it has one."""
        if not isinstance(query, Query):
            raise UserError(
                "segment takes a query, which segmenter.query(names) makes; or call "
                f"segmenter(picture, names). Got {reprlib.repr(query)}"
            )
        for size in dict.fromkeys((image.shape[0], image.shape[1]) for image in images):
            if (note := self.predictor.plan(size).note) is not None:
                warn_caller(note, ShrunkPicture)
        colours = class_colours([group[0] for group in query.typed.groups])
        best = self.predictor.labels_of_each(images, query)
        return [
            Segmentation(
                labels=labels,
                legend=make_legend(query.typed.groups, colours, query.seen_by_class, labels),
                image=image,
                name=name,
                file_name=file_name,
                confidence=confidence,
                compute_scores=partial(self.predictor.scores, image, query),
            )
            for image, (name, file_name), (labels, confidence) in zip(
                images, names, best, strict=True
            )
        ]


def open_segmenter(source: ModelSource, run: RunOptions) -> Segmenter:
    """The model that a command was asked for. Raises `UserError` as the constructors."""
    if source.clip is not None:
        device = choose_device(run.device)
        return Segmenter.from_clip(
            source.clip,
            method=source.method,
            device=device,
            precision=run.precision,
            inference=run.inference,
        )
    device = device_for(source.model, run.device)
    return Segmenter.from_pretrained(
        source.model,
        pretrained=source.pretrained,
        device=device,
        precision=run.precision,
        inference=run.inference,
    )
