"""The 22 classes of the picture book, in label order, and their split by name."""

THINGS: tuple[str, ...] = (
    "house", "tree", "car", "boat", "fish", "cat", "flower", "sun",
    "star", "mushroom", "umbrella", "balloon", "snowman", "apple", "heart", "key",
)  # fmt: skip
STUFF: tuple[str, ...] = ("grass", "water", "sand", "sky", "brick", "wood")

CLASSES: tuple[str, ...] = THINGS + STUFF
"""All classes; the position of a name is its label in every mask."""

UNSEEN: tuple[str, ...] = ("cat", "boat", "mushroom", "umbrella", "star", "sand", "brick")
"""Classes whose masks are withheld from training."""
