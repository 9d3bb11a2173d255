"""CC-FV of decoders: features come from the right voxels of images of any size, in 2-D and 3-D."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.basic_unet import BasicUNet
from scipy.spatial import cKDTree
from torch import nn

from workflow.lib.job.run import UserError
from workflow.lib.score.ccfv import ccfv_code, ccfv_published
from workflow.lib.score.decoder import decoder_layers


class Pointwise(nn.Module):
    """A "decoder" whose output at a voxel depends on that voxel alone: the same in every window."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.decoder = convolution(2, 3, 1)
        self.head = convolution(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.decoder(x))


def volumes(sizes: list[tuple[int, ...]]) -> tuple[list[torch.Tensor], list[np.ndarray]]:
    """Images in which every voxel is unique, and masks of two classes and the background."""
    rng = np.random.default_rng(0)
    images = [torch.tensor(rng.normal(size=(2, *size)), dtype=torch.float32) for size in sizes]
    return images, [rng.integers(0, 3, size=size) for size in sizes]


@pytest.mark.parametrize("sizes", [[(20, 33), (9, 16), (5, 40)], [(9, 20, 17), (5, 30, 8), (8, 16, 16)]])
def test_every_point_has_the_features_of_its_voxel(sizes: list[tuple[int, ...]]) -> None:
    dimensions = len(sizes[0])
    network, (images, masks) = Pointwise(dimensions), volumes(sizes)
    window = (16,) * dimensions if dimensions == 2 else (8, 16, 16)
    [layer] = decoder_layers(network, ["decoder"], images, masks, window=window, points=[10**6], seed=0)
    for found, image, mask in zip(layer, images, masks, strict=True):
        with torch.inference_mode():
            whole = network.decoder(image[None])[0].numpy()
        assert set(found) == {0, 1, 2}
        for name, features in found.items():
            expected = whole[:, mask == name].T
            assert features.shape == expected.shape
            distances, nearest = cKDTree(expected).query(features)
            assert distances.max() < 1e-4 and len(np.unique(nearest)) > 0.99 * len(expected)  # some all but coincide


def test_points_are_the_same_for_all_networks_and_as_many_as_asked() -> None:
    images, masks = volumes([(16, 16), (20, 24)])
    one, two = Pointwise(2), Pointwise(2)
    two.load_state_dict(one.state_dict())
    options: dict[str, Any] = {"window": (16, 16), "points": [7, 4], "seed": 3}
    found = [decoder_layers(net, ["decoder", "head"], images, masks, **options) for net in (one, two)]
    for layer, most in zip(found[0], (7, 4), strict=True):
        assert all(len(points) == most for image in layer for points in image.values())
    np.testing.assert_array_equal(found[0][0][1][2], found[1][0][1][2])
    assert found[0][0][0][0].shape == (7, 3) and found[0][1][0][0].shape == (4, 1)


def test_a_3d_u_net_is_scored_and_consistent_classes_score_higher() -> None:
    torch.manual_seed(0)
    network = BasicUNet(spatial_dims=3, in_channels=1, out_channels=2, features=(4, 4, 8, 8, 8, 4))
    rng = np.random.default_rng(1)
    masks = [np.zeros((18, 32, 32), dtype=int) for _ in range(4)]
    for mask in masks:
        mask[4:12, 8:24, 8:24] = 1
    scores = []
    for spread in (0.05, 2.0):  # how much the intensity of the organ differs between patients
        images = [
            torch.tensor(mask * (1 + spread * rng.normal()) + 0.1 * rng.normal(size=mask.shape), dtype=torch.float32)[
                None
            ]
            for mask in masks
        ]
        layers = decoder_layers(
            network,
            ["upcat_3", "upcat_2", "upcat_1"],
            images,
            masks,
            window=(16, 32, 32),
            points=[50, 100, 200],
            seed=0,
        )
        assert [len(layer[0][1]) for layer in layers] == [50, 100, 200]
        scores.append((ccfv_published(layers), ccfv_code(layers)))
    assert scores[0][0] > scores[1][0] and scores[0][1] > scores[1][1]


def test_an_unknown_module_is_named() -> None:
    images, masks = volumes([(16, 16)])
    with pytest.raises(UserError, match="no such module") as error:
        decoder_layers(Pointwise(2), ["decodr"], images, masks, window=(16, 16), points=[1], seed=0)
    assert "decoder, head" in str(error.value)
