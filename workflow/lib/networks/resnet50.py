"""The ResNet50 Attention U-Net and its encoder (Hidy et al., arXiv 2410.18677, ResNet50 Attention U-Net).

It is not torchvision's or timm's ResNet50: shortcuts have no parameters (subsampling, and zeros for new channels), and
stochastic depth drops whole branches without rescaling in training and scales them by 1 - p in evaluation. Attention
gates weight every channel and position, not only positions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workflow.lib.networks.unet import double_conv, up_conv

BLOCKS = (3, 4, 6, 3)
LEAST = 8  # channels of a decoder step


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a parameter-free shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop: float) -> None:
        super().__init__()
        inner = outputs // 4
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.stride, self.new_channels, self.drop = stride, outputs - inputs, drop

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        if self.training and self.drop:
            keep = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            branch = branch * keep
        elif self.drop:
            branch = branch * (1 - self.drop)
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(branch + shortcut)


class ResNet50Encoder(nn.Module):
    """Five levels; with width 64 and 224 pixels: 64x112x112, 256x56x56, 512x28x28, 1024x14x14, 2048x7x7.

    `drop` is the largest rate of stochastic depth; it grows linearly from 0 over the 16 blocks.
    """

    def __init__(self, width: int = 64, drop: float = 0.0) -> None:
        super().__init__()
        self.channels = [width, *(width * 4 * 2**stage for stage in range(4))]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        rates = iter(torch.linspace(0, drop, sum(BLOCKS)).tolist())
        self.stages = nn.ModuleList()
        for stage, blocks in enumerate(BLOCKS):
            inputs, outputs = self.channels[stage], self.channels[stage + 1]
            first = Bottleneck(inputs, outputs, 2 if stage else 1, next(rates))
            rest = [Bottleneck(outputs, outputs, 1, next(rates)) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(first, *rest))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (n, 3, h, w) to feature maps (n, c, h', w'), shallow to deep; level 1 is taken before pooling."""
        features = [self.stem(x)]
        x = self.pool(features[0])
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class AttentionGate(nn.Module):
    """Weights a skip connection by what the coarse map says; one weight per channel and position."""

    def __init__(self, coarse: int, skip: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(coarse, coarse, 1), nn.BatchNorm2d(coarse), nn.ReLU(inplace=True))
        self.from_gate = nn.Sequential(nn.Conv2d(coarse, coarse, 1), nn.BatchNorm2d(coarse))
        self.from_skip = nn.Sequential(nn.Conv2d(skip, coarse, 2, stride=2), nn.BatchNorm2d(coarse))
        self.weight = nn.Sequential(nn.Conv2d(coarse, skip, 1), nn.BatchNorm2d(skip), nn.Sigmoid())

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        mixed = F.relu(self.from_skip(skip) + self.from_gate(self.gate(coarse)))
        return skip * F.interpolate(self.weight(mixed), scale_factor=2.0)


class AttentionDecoder(nn.Module):
    """Four gated up-steps, a fifth without skip connection, and a final 1x1 convolution to logits."""

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__()
        skips = channels[-2::-1]
        # Encoders much narrower than the study's would leave two channels at the end, which die in training.
        *widths, last = (max(LEAST, channels[1] // 2**step) for step in range(5))
        inputs = [channels[-1], *widths]
        self.ups = nn.ModuleList(up_conv(width, width // 2) for width in inputs)
        self.gates = nn.ModuleList(AttentionGate(width, skip) for width, skip in zip(inputs, skips, strict=False))
        self.convs = nn.ModuleList(
            double_conv(width // 2 + skip, output)
            for width, skip, output in zip(inputs, [*skips, 0], [*widths, last], strict=True)
        )
        self.head = nn.Conv2d(last, outputs, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Feature maps, shallow to deep, to logits (n, outputs, 2h, 2w) of a first level (n, c, h, w)."""
        x = features[-1]
        for up, gate, conv, skip in zip(self.ups, self.gates, self.convs, features[-2::-1], strict=False):
            x = conv(torch.cat([up(x), gate(x, skip)], dim=1))
        return self.head(self.convs[-1](self.ups[-1](x)))
