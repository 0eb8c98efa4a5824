"""The whole network: normalised images and text embeddings to mask logits."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from cascade_clip.config import ModelSettings
from cascade_clip.errors import UserError
from cascade_clip.model.encoder import ImageEncoder
from cascade_clip.model.heads import build_head
from cascade_clip.model.protocol import Output, check_text
from cascade_clip.support.messages import some_of

VISUAL_PREFIX = "encoder.visual."


class SegmentationNetwork(nn.Module):
    """A method as `settings` describe it, on top of the CLIP image encoder `visual`.

    `visual` is open_clip's `VisionTransformer`; the network uses the module itself and freezes it,
    except for what `settings.encoder.tuning` trains.

    Raises `UserError` for settings that don't fit the encoder: blocks beyond its depth, heads that
    don't divide its embedding width; and for methods without training.
    """

    def __init__(self, visual: nn.Module, settings: ModelSettings) -> None:
        super().__init__()
        check_trainable(settings)
        self.settings = settings
        blocks = tuple(block for stage in settings.head.stages_read for block in stage)
        self.encoder = ImageEncoder(visual, settings.encoder, blocks)
        self.head = build_head(self.encoder.embed_dim, settings.head)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.encoder.patch_size

    @property
    def classes_interact(self) -> bool:
        """Whether the logits of a class depend on which other classes are asked for."""
        return self.head.classes_interact or self.encoder.relationship_prompts is not None

    def forward(self, image: Tensor, text_embeddings: Tensor) -> Output:
        """Normalised images (B, 3, H, W) and L2-normalised text embeddings to `Output`.

        H and W are multiples of the patch size, otherwise free. Text embeddings are (C, d), or
        (C, K, d) for heads that take K prompts a class.

        Raises `UserError` for other image sizes, and text embeddings of another width or number.
        """
        text = self._prompts_of(text_embeddings)  # (C, K, d)
        if self.settings.float16_text:
            text = text.half().to(text.dtype)
        return self.head(self.encoder(image, text), text)

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def adapter_state_dict(self) -> dict[str, Tensor]:
        """All that is trained or added on top of the CLIP, frozen additions included."""
        trained = self.trained_parameters()
        return {
            name: value
            for name, value in self.state_dict().items()
            if name in trained or not name.startswith(VISUAL_PREFIX)
        }

    def load_adapter_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Loads what `adapter_state_dict` gave.

        Raises `UserError` unless names and shapes are exactly this network's; nothing is loaded
        then.
        """
        own = self.adapter_state_dict()
        problems = [f"missing {name}" for name in own.keys() - state.keys()]
        problems += [f"unexpected {name}" for name in state.keys() - own.keys()]
        problems += [
            f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own.keys() & state.keys()
            if state[name].shape != own[name].shape
        ]
        if problems:
            told = some_of(sorted(problems), 3, "; ")
            raise UserError(f"the weights belong to another model: {told}")
        self.load_state_dict({**self.state_dict(), **state})

    def _prompts_of(self, text_embeddings: Tensor) -> Tensor:
        """Text embeddings (C, d) or (C, K, d) to (C, K, d)."""
        check_text(text_embeddings, self.encoder.embed_dim)
        return text_embeddings if text_embeddings.ndim == 3 else text_embeddings[:, None]


def check_trainable(settings: ModelSettings) -> None:
    """Raises `UserError` for a method that needs no training."""
    if settings.training_free is not None:
        kind = settings.training_free.kind
        raise UserError(
            f"{kind} needs no training: use it as it is, by --clip CLIP --method {kind} of "
            "segment, label, serve or evaluate; to train, leave model.training_free out"
        )
