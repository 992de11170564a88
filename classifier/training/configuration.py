"""The settings of a training, read from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

DEFAULT_CONFIGURATION = Path(__file__).parent / "configs" / "dmfnet_v2.toml"


class ConfigurationError(Exception):
    """The configuration file cannot be used; the message says why."""


@dataclass(frozen=True)
class TrainingConfiguration:
    """Everything that decides the result of a training, besides the images.

    Attributes:
        train: Training images, relative to the data folder.
        also: Further sources: folder to how often each of its images counts, so that a small one
            is not lost beside a large one.
        validation: Sets to follow during training, name to folder; the first decides.
        imagenet: Weights file of the backbone, relative to the data folder; empty for none.
        validate_every: Epochs between two validations.
        zoom: See :class:`classifier.training.augmentation.CellAugmentation`, as for the strengths.
        averaging: Momentum of the moving average of the weights.
        backbone_rate: Learning rate of the backbone relative to that of the rest.
        frozen: Beginnings of the names of backbone layers that keep their ImageNet weights.
    """

    train: str
    validation: dict[str, str]
    also: dict[str, int] = field(default_factory=dict)
    imagenet: str = ""
    seed: int = 0
    epochs: int = 16
    batch_size: int = 32
    batches_per_epoch: int = 128
    validate_every: int = 2
    learning_rate: float = 6e-4
    warm_up_epochs: float = 1.5
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    label_smoothing: float = 0.05
    dropout: float = 0.2
    averaging: float = 0.995
    frozen: tuple[str, ...] = ()
    backbone_rate: float = 1.0
    zoom: tuple[float, float] = (0.38, 1.1)
    shift: float = 0.08
    stain: float = 1.0
    colour: float = 1.0
    focus: float = 1.0
    bend: float = 0.0
    texture: float = 0.0
    plain: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigurationError(f"epochs must be at least 1, received {self.epochs}")
        if not self.validation:
            raise ConfigurationError("at least one validation set is needed")


def read_configuration(path: Path, **changes: Any) -> TrainingConfiguration:
    """Read a configuration; ``changes`` that are not None take precedence over the file.

    Raises:
        ConfigurationError: If the file is missing, is no TOML, or has unknown or missing settings.
    """
    if not path.is_file():
        raise ConfigurationError(f"no such configuration: {path}")
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    settings |= {key: value for key, value in changes.items() if value is not None}
    unknown = set(settings) - {item.name for item in fields(TrainingConfiguration)}
    if unknown:
        raise ConfigurationError(f"{path} has unknown settings: {sorted(unknown)}")
    for name in {"zoom", "frozen"} & set(settings):
        settings[name] = tuple(settings[name])
    try:
        return TrainingConfiguration(**settings)
    except TypeError as error:
        raise ConfigurationError(f"{path} is incomplete: {error}") from error
