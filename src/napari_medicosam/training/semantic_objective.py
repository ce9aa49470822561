"""The semantic term of the paper's Algorithm 1 (e_sem = 1): a decoder learns the union of all target masks.

Shape suffixes: B batch, C channels, h/w token grid, H/W the model's input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from napari_medicosam.errors import TrainingError
from napari_medicosam.training.losses import soft_dice_loss

if TYPE_CHECKING:
    from torch import Tensor

    from napari_medicosam.models.semantic_decoder_2d import SemanticDecoder2D


class SemanticTerm(nn.Module):
    """Soft Dice loss of a semantic decoder, with gradients for the decoder and for the image encoder before it.

    The reference squashes its decoder's output by a sigmoid and trains encoder and decoder in a step of their own; here
    the loss is one more term of the sum, as the paper writes it. As in the reference, the decoder's batch norms use the
    statistics of the batch in training mode: batches of another size are not exactly equal steps.

    Args:
        decoder: with one class, for the encoder that makes the embeddings.

    Raises:
        TrainingError: for a decoder with another number of classes.
    """

    def __init__(self, decoder: SemanticDecoder2D) -> None:
        super().__init__()
        if decoder.spec.num_classes != 1:
            raise TrainingError(
                f"the semantic term needs a decoder with 1 class, got {decoder.spec.num_classes}; "
                "load_semantic_decoder(path, num_classes=1) gives one"
            )
        self.decoder = decoder

    def forward(self, embeddings_BChw: Tensor, targets_BHW: Tensor) -> Tensor:
        """The loss, averaged over the batch.

        Args:
            embeddings_BChw: neck outputs, with gradient where the encoder is trained.
            targets_BHW: 1 (or True) where any object is, at the model's input size, 0 in the padding.

        Raises:
            TrainingError: for targets of another size than the logits'.
        """
        logits_BHW = self.decoder(embeddings_BChw)[:, 0]
        if logits_BHW.shape != targets_BHW.shape:
            raise TrainingError(
                f"targets of the semantic term have shape {tuple(targets_BHW.shape)}, "
                f"wanted {tuple(logits_BHW.shape)}"
            )
        return soft_dice_loss(logits_BHW, targets_BHW).mean()
