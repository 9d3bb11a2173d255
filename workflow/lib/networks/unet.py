"""The basic U-Net and its encoder (Hidy et al., arXiv 2410.18677, basic U-Net).

It differs from the textbook U-Net in its stem, a bare convolution before the first level, and in its up-convolutions:
2x2 kernels on the nearest-neighbour enlarged map, padded by one zero row at the bottom and one column at the right.
"""

import torch
from torch import Tensor, nn


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch-norm and ReLU; the size stays."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def up_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Nearest x2, then a 2x2 convolution padded at the bottom and right, then ReLU: (n, inputs, h, w) -> (n, outputs, 2h, 2w)."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(inputs, outputs, 2), nn.ReLU(inplace=True)
    )


class UNetEncoder(nn.Module):
    """Five levels; with width 64 and 224 pixels: 64x224x224, 128x112x112, 256x56x56, 512x28x28, 1024x14x14."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.channels = [width * 2**level for level in range(5)]
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        inputs = [width, *self.channels[:-1]]
        self.levels = nn.ModuleList(double_conv(i, o) for i, o in zip(inputs, self.channels, strict=True))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (n, 3, h, w) to feature maps (n, c, h', w'), shallow to deep."""
        x = self.stem(x)
        features = []
        for depth, level in enumerate(self.levels):
            x = level(self.pool(x) if depth else x)
            features.append(x)
        return features


class UNetDecoder(nn.Module):
    """Four up-steps with skip connections and a final 1x1 convolution to logits."""

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__()
        steps = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.ups = nn.ModuleList(up_conv(deep, shallow) for deep, shallow in steps)
        self.convs = nn.ModuleList(double_conv(2 * shallow, shallow) for _, shallow in steps)
        self.head = nn.Conv2d(channels[0], outputs, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Feature maps, shallow to deep, to logits (n, outputs, h, w)."""
        x = features[-1]
        for up, conv, skip in zip(self.ups, self.convs, features[-2::-1], strict=True):
            x = conv(torch.cat([up(x), skip], dim=1))
        return self.head(x)
