"""What the machine could do: the rate of matrix products, and the arithmetic of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from segment_anything.modeling import Sam

    from napari_medicosam.benchmark.machine import Machine


class MatrixProduct:
    """Products of two square matrices, as large as it takes to reach what torch can reach."""

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self._left, self._right = (
            torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2)
        )
        self.flops = 2 * size**3

    def __call__(self) -> float:
        """Multiply, and wait for it."""
        with torch.inference_mode():
            return float((self._left @ self._right)[0, 0])


def has_bf16(machine: Machine, device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 faster than by turning it into float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(flag in machine.cpu_flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def flops_of(action: Callable[[], object]) -> int:
    """Floating point operations of torch's matrix products, convolutions and attention; a product and a sum are two."""
    with FlopCounterMode(display=False) as counter:
        action()
    return int(counter.get_total_flops())


def model_flops(sam: Sam) -> dict[str, int]:
    """Of the image encoder for a slice, and of prompt encoder and mask decoder for a box, as SAM's own code does it."""
    side, device = sam.image_encoder.img_size, sam.device
    with torch.inference_mode():
        image = torch.zeros(1, 3, side, side, device=device)
        features = sam.image_encoder(image)

        def decode() -> None:
            box = torch.tensor([[0.0, 0.0, side / 2, side / 2]], device=device)
            sparse, dense = sam.prompt_encoder(points=None, boxes=box, masks=None)
            sam.mask_decoder(
                features, sam.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=False
            )

        return {"encoder": flops_of(lambda: sam.image_encoder(image)), "decoder": flops_of(decode)}
