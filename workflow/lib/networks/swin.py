"""The Swin U-Net and its encoder (Hidy et al., arXiv 2410.18677, Swin U-Net), from torchvision's Swin blocks.

It differs from the textbook Swin-T in its depths (2, 2, 2, 2) and in having no norm after the last level. Features are
token-major, (n, tokens, channels), as the robustness score of the study wants them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMerging, SwinTransformerBlock

from workflow.lib.job.run import UserError

HEADS = (3, 6, 12, 24)
PATCH = 4
STRIDE = 8 * PATCH  # input pixels per token of the last level


def swin_pair(width: int, heads: int, window: int, drops: Sequence[float]) -> nn.Sequential:
    """Two blocks on (n, h, w, width), the second with shifted windows."""
    return nn.Sequential(
        *(
            SwinTransformerBlock(width, heads, [window, window], [shift, shift], stochastic_depth_prob=drop)
            for shift, drop in zip((0, window // 2), drops, strict=True)
        )
    )


def to_map(tokens: Tensor) -> Tensor:
    """(n, h*h, c) -> (n, h, h, c)."""
    side = math.isqrt(tokens.shape[1])
    return tokens.unflatten(1, (side, side))


class SwinEncoder(nn.Module):
    """Four levels; with width 96 and 224 pixels: 3136x96, 784x192, 196x384, 49x768 (tokens x channels).

    `drop` is the largest rate of stochastic depth; it grows linearly from 0 over the 8 blocks.
    """

    def __init__(self, width: int = 96, window: int = 7, drop: float = 0.1) -> None:
        super().__init__()
        self.channels = [width * 2**level for level in range(4)]
        self.patch = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(width)
        rates = torch.linspace(0, drop, 8).view(4, 2).tolist()
        settings = zip(self.channels, HEADS, rates, strict=True)
        self.levels = nn.ModuleList(swin_pair(c, heads, window, drops) for c, heads, drops in settings)
        self.merges = nn.ModuleList(PatchMerging(c) for c in self.channels[:-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Square images (n, 3, s, s) to tokens (n, l, c), shallow to deep, each before merging.

        Raises `UserError` for a size that can't be merged three times.
        """
        height, width = x.shape[-2:]
        if height != width or height % STRIDE:
            raise UserError(
                "image size that the Swin encoder cannot take",
                found=f"{height} x {width} pixels",
                expected=f"squares whose side is a multiple of {STRIDE}: {STRIDE}, {2 * STRIDE}, ..., 224, 256, ...",
                where="input of the Swin encoder",
                next=f"choose image_size {max(1, round(height / STRIDE)) * STRIDE} in the config",
            )
        x = self.norm(self.patch(x).permute(0, 2, 3, 1))
        features = []
        for depth, level in enumerate(self.levels):
            x = level(self.merges[depth - 1](x) if depth else x)
            features.append(x.flatten(1, 2))
        return features


class PatchExpanding(nn.Module):
    """Linear layer and pixel shuffle: (n, h, w, c) -> (n, f*h, f*w, c') with channels `inputs * expansion / f**2`."""

    def __init__(self, inputs: int, expansion: int, factor: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, inputs * expansion, bias=False)
        self.norm = nn.LayerNorm(inputs * expansion // factor**2)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, _ = x.shape
        f = self.factor
        x = self.linear(x).view(n, h, w, f, f, -1).permute(0, 1, 3, 2, 4, 5)
        return self.norm(x.reshape(n, h * f, w * f, -1))


class SwinDecoder(nn.Module):
    """Three up-steps with skip connections and Swin blocks, a x4 expansion, and a final 1x1 convolution to logits."""

    def __init__(self, channels: list[int], outputs: int, window: int = 7) -> None:
        super().__init__()
        rates = torch.linspace(0, 0.2, 8)[:6].view(3, 2).flip(0).tolist()
        self.ups = nn.ModuleList(PatchExpanding(c, 2, 2) for c in channels[:0:-1])
        self.mixes = nn.ModuleList(nn.Linear(2 * c, c) for c in channels[-2::-1])
        settings = zip(channels[-2::-1], HEADS[-2::-1], rates, strict=True)
        self.blocks = nn.ModuleList(swin_pair(c, heads, window, drops) for c, heads, drops in settings)
        self.norm = nn.LayerNorm(channels[0])
        self.expand = PatchExpanding(channels[0], PATCH**2, PATCH)
        self.head = nn.Conv2d(channels[0], outputs, 1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Tokens (n, l, c), shallow to deep, to logits (n, outputs, s, s)."""
        maps = [to_map(tokens) for tokens in features]
        x = maps[-1]
        for up, mix, blocks, skip in zip(self.ups, self.mixes, self.blocks, maps[-2::-1], strict=True):
            x = blocks(mix(torch.cat([up(x), skip], dim=-1)))
        return self.head(self.expand(self.norm(x)).permute(0, 3, 1, 2))
