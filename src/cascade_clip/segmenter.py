"""Pictures and class names in, segmentations out."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Unpack, overload

import numpy as np
import numpy.typing as npt
import torch

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.checkpoint.locate import EMBEDDED, is_exported
from cascade_clip.checkpoint.options import RunOptions
from cascade_clip.checkpoint.publish import publish_model, save_with_card
from cascade_clip.checkpoint.source import ModelSource
from cascade_clip.checkpoint.training_free import Method, load_training_free, read_clip
from cascade_clip.class_names import TypedClasses, classes_named, parse_classes
from cascade_clip.clip.load import FrozenClip
from cascade_clip.config import Recipe
from cascade_clip.config.base import PrecisionChoice
from cascade_clip.config.training_free import DEFAULT_METHOD
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.export.bundle import Engine, load_any
from cascade_clip.export.network import device_for
from cascade_clip.export.vocabulary import FixedVocabulary
from cascade_clip.inference.predictor import MAX_WINDOWS, Predictor, check_max_windows
from cascade_clip.inference.query import (
    Query,
    QueryOptions,
    build_query,
    check_options,
    read_templates,
)
from cascade_clip.io.images import Picture, RGBArray, picture_name, read_picture
from cascade_clip.io.palette import class_colours
from cascade_clip.model.fast.compiling import CompileChoice, wants_compile
from cascade_clip.model.fast.precision import (
    Precision,
    at_precision,
    choose_precision,
)
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import MaskNetwork
from cascade_clip.model.training_free.network import TrainingFreeNetwork
from cascade_clip.segmentation import Segmentation, make_legend
from cascade_clip.support.devices import choose_device, usable_device
from cascade_clip.support.messages import warn_caller

Classes = str | Sequence[str] | TypedClasses
"""Names as a list or one string with commas; `sofa|couch` is one class with two names."""


class ShrunkPicture(UserWarning):
    """A very long picture was shrunk before it went into the network."""


class Segmenter:
    """Segments pictures into classes named at run time.

    `network` stands on `clip`; `classes` are those of its training, if there was any; `recipe` says
    how pictures are prepared. `max_windows` caps the work for very long pictures: they are shrunk,
    with a warning, until they fit. `precision` is "fp32", "bf16", "int8" (CPU only) or "auto": bf16
    where the device multiplies it, else fp32; what is slower than fp32 here is refused. Lower ones
    work on a copy of the network; exported files have their own. `compile` passes the network
    through `torch.compile` with the first picture, which takes a minute or more; "auto": on GPUs.
    """

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
    ) -> None:
        self.device = usable_device(device)
        self.network = network.to(self.device).eval()
        self.precision: Precision = "fp32"
        if isinstance(self.network, (SegmentationNetwork, TrainingFreeNetwork)):
            self.precision = choose_precision(precision, self.device)
            self.network = at_precision(self.network, self.precision)
        if wants_compile(compile, self.device):
            self.network.compile()
        self.clip = clip
        self.trained_classes = classes
        self.default_classes: TypedClasses | None = None
        if isinstance(clip, FixedVocabulary):
            self.default_classes = clip.classes
        elif classes is not None:
            self.default_classes = classes_named(classes.prompts)
        self.recipe = recipe
        self.templates = read_templates(templates or recipe.data.templates)
        self.metrics = dict(metrics or {})
        normalisation = recipe.data.normalisation(clip.normalisation)
        self.predictor = Predictor(
            self.network, recipe.inference, normalisation, self.device, max_windows
        )

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = EMBEDDED,
        *,
        revision: str | None = None,
        pretrained: str | None = None,
        engine: Engine | None = None,
        device: str | torch.device = "cpu",
        max_windows: int = MAX_WINDOWS,
        precision: PrecisionChoice = "fp32",
        compile: CompileChoice = False,
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
            device, max_windows, precision: see the class; exported files have their precision.

        Raises `UserError` if there is no such model, device, precision or other option, or it
        stands on another CLIP.
        """
        if not isinstance(model, (str, os.PathLike)):
            raise UserError(
                f"a model is a path or a name, e.g. '{EMBEDDED}'; got {reprlib.repr(model)}"
            )
        place = usable_device(device)
        if not is_exported(model):
            choose_precision(precision, place)
        wants_compile(compile, place)
        check_max_windows(max_windows)
        bundle = load_any(
            Path(model),
            place,
            revision=revision,
            pretrained=pretrained,
            engine=engine,
            precision=precision,
        )
        return cls(
            bundle.network,
            bundle.clip,
            bundle.classes,
            bundle.recipe,
            templates=bundle.templates,
            metrics=bundle.metrics,
            device=device,
            max_windows=max_windows,
            precision=precision,
            compile=compile,
        )

    @classmethod
    def from_clip(
        cls,
        clip: str | Path,
        pretrained: str | Path | None = None,
        *,
        method: Method = DEFAULT_METHOD,
        device: str | torch.device = "cpu",
        max_windows: int = MAX_WINDOWS,
        precision: PrecisionChoice = "fp32",
        compile: CompileChoice = False,
    ) -> Segmenter:
        """Any CLIP with a method that needs no training, for photographs.

        Args:
            clip: an architecture of open_clip; or, without `pretrained`, architecture and tag
                (`ViT-B-16/openai`), a weights file, or `local-dir:FOLDER` in open_clip's layout.
            pretrained: a tag of open_clip, such as "openai", or a weights file.
            method: "sc-clip", the best one as a rule; "naclip", "clearclip", "sclip", "resclip",
                "gem", "maskclip" or "clip"; or settings with a `kind`.
            device, max_windows, precision, compile: see the class.

        Raises `UserError` for an unknown CLIP, method or other option, and weights that can't be
        read or downloaded.
        """
        place = usable_device(device)
        choose_precision(precision, place)
        wants_compile(compile, place)
        check_max_windows(max_windows)
        bundle = load_training_free(read_clip(clip, pretrained), method)
        return cls(
            bundle.network,
            bundle.clip,
            None,
            bundle.recipe,
            templates=bundle.templates,
            device=place,
            max_windows=max_windows,
            precision=precision,
            compile=compile,
        )

    @overload
    def __call__(
        self,
        images: Picture,
        classes: Classes | None = None,
        **options: Unpack[QueryOptions],
    ) -> Segmentation: ...

    @overload
    def __call__(
        self,
        images: list[Picture] | tuple[Picture, ...],
        classes: Classes | None = None,
        **options: Unpack[QueryOptions],
    ) -> list[Segmentation]: ...

    def __call__(
        self,
        images: Picture | list[Picture] | tuple[Picture, ...],
        classes: Classes | None = None,
        **options: Unpack[QueryOptions],
    ) -> Segmentation | list[Segmentation]:
        """Segments one picture, or a list of them, at original size.

        Args:
            images: a path, a PIL image, an array (H,W,3) of uint8 or a tensor (3,H,W) of uint8 or
                of floats in [0, 1]; or a list of these.
            classes: names, as a list or one string with commas; `sofa|couch` is one class with two
                names. None: the classes of the model's training.
            background: True leaves pixels without a class whose best score is under 0.5, or with a
                training-free method those that look like one of 26 usual backgrounds; a number is
                another threshold, 0..1.
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
        names = [(picture_name(picture, index), _file_name(picture))]
        return self._results([read_picture(picture)], names, query)[0]

    def segment_batch(self, pictures: Sequence[Picture], query: Query) -> list[Segmentation]:
        """Segments pictures, and gives the results in their order.

        Those of equal size go through the network together, as many as fit into one pass of
        windows. Without file names they are called by their index.

        Raises `UserError` for an unreadable picture; none is segmented then.
        """
        if isinstance(pictures, (str, bytes)) or not isinstance(pictures, Iterable):
            raise UserError(f"segment_batch takes a list of pictures, got {reprlib.repr(pictures)}")
        pictures = list(pictures)
        names = [(picture_name(p, i), _file_name(p)) for i, p in enumerate(pictures)]
        return self._results([read_picture(p) for p in pictures], names, query)

    def segment_decoded(self, images: Sequence[RGBArray], query: Query) -> list[Segmentation]:
        """As `segment_batch`, for pictures that `cascade_clip.io.images.read_picture` has read:
        arrays (H, W, 3) of uint8, which are neither decoded nor copied again."""
        return self._results(images, [(picture_name(image, 0), None) for image in images], query)

    def save_pretrained(
        self, folder: str | Path, *, full: bool | None = None, licence: str | None = None
    ) -> Path:
        """Writes a model folder with a model card, for `from_pretrained`.

        Args:
            full: whether to store the CLIP, too; None: only one that can't be had by its name.
            licence: of the weights, as the Hugging Face hub calls it, e.g. "apache-2.0".

        Raises `UserError` if the folder holds something else or can't be written, and for models in
        lower precision and exported ones.
        """
        return save_with_card(self._bundle(), Path(folder), full=full, licence=licence)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        full: bool | None = None,
        licence: str | None = None,
    ) -> str:
        """Publishes what `save_pretrained` writes as `organisation/model` on the Hugging Face hub,
        and gives its address. You have to be logged in (`hf auth login`).

        Raises `UserError` as `save_pretrained`, and if the hub refuses or can't be reached.
        """
        return publish_model(self._bundle(), repo_id, private=private, full=full, licence=licence)

    def _bundle(self) -> Bundle:
        network, clip = self.network, self.clip
        if (
            not isinstance(network, SegmentationNetwork)
            or not isinstance(clip, FrozenClip)
            or self.trained_classes is None
            or self.precision != "fp32"
        ):
            raise UserError(
                "only models that were loaded from a model folder in precision fp32 can be saved"
            )
        return Bundle(
            network=network,
            clip=clip,
            recipe=self.recipe,
            classes=self.trained_classes,
            templates=self.templates,
            metrics=self.metrics,
        )

    def _results(
        self, images: Sequence[RGBArray], names: Sequence[tuple[str, str | None]], query: Query
    ) -> list[Segmentation]:
        """`names` are each picture's own and that of its file, if it has one."""
        if not isinstance(query, Query):
            raise UserError(
                "segment takes a query, which segmenter.query(names) makes; or call "
                f"segmenter(picture, names). Got {reprlib.repr(query)}"
            )
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        for size in dict.fromkeys(sizes):
            if (note := self.predictor.plan(size).note) is not None:
                warn_caller(note, ShrunkPicture)
        colours = class_colours([group[0] for group in query.typed.groups])
        labels: dict[int, npt.NDArray[np.int16]] = {}
        confidence: dict[int, npt.NDArray[np.float16]] = {}
        for members in self.predictor.passes(sizes):
            best = self.predictor.labels([images[i] for i in members], query)  # (B, H, W) each
            labels.update(zip(members, best[0], strict=True))
            confidence.update(zip(members, best[1], strict=True))
        return [
            Segmentation(
                labels=labels[index],
                legend=make_legend(query.typed.groups, colours, query.seen_by_class, labels[index]),
                image=image,
                name=name,
                file_name=file_name,
                confidence=confidence[index],
                compute_scores=partial(self.predictor.scores, image, query),
            )
            for index, (image, (name, file_name)) in enumerate(zip(images, names, strict=True))
        ]


def _file_name(picture: Picture) -> str | None:
    return Path(picture).name if isinstance(picture, (str, os.PathLike)) else None


def open_segmenter(source: ModelSource, run: RunOptions) -> Segmenter:
    """The model that a command was asked for. Raises `UserError` as the constructors."""
    if source.clip is not None:
        device = choose_device(run.device)
        return Segmenter.from_clip(
            source.clip, method=source.method, device=device, precision=run.precision
        )
    device = device_for(source.model, run.device)
    return Segmenter.from_pretrained(
        source.model, pretrained=source.pretrained, device=device, precision=run.precision
    )
