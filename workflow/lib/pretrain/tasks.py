"""The tasks that an encoder can be pretrained on, by the names of the config; each is one file."""

from types import ModuleType

from workflow.lib.pretrain import (
    classification,
    contrastive,
    contrastive_reconstruction,
    masked,
    reconstruction,
    segmentation,
)

# Each has: network(encoder, images, use=, seed=, image_size=), what is trained, with an `encoder` and perhaps a `decoder`;
# item(views, index), what it sees and is to put out; loss(outputs, wanted, recipe).
TASKS: dict[str, ModuleType] = {
    "classification": classification,
    "segmentation": segmentation,
    "reconstruction": reconstruction,
    "contrastive": contrastive,
    "contrastive_reconstruction": contrastive_reconstruction,
    "masked": masked,
}
