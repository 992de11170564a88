"""Training of DM-FNet with Keras alone: the same under TensorFlow, PyTorch or JAX."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import Input, Model

from classifier.nn.dmfnet import build_dmfnet
from classifier.nn.mobilenet import BACKBONE_LAYERS, load_imagenet
from classifier.preprocessing import INPUT_SIZE, TRAINING_MARGIN
from classifier.training.augmentation import CellAugmentation
from classifier.training.checkpoints import (
    claim_folder,
    read_curves,
    restore_state,
    save_state,
    write_curves,
)
from classifier.training.configuration import TrainingConfiguration
from classifier.training.data import (
    BalancedBatches,
    LabelledImages,
    join_images,
    load_images,
)

# Training crops show more than the input does, at the same number of pixels per micrometre.
CROP_SIZE = int(TRAINING_MARGIN * INPUT_SIZE)
EVALUATION_BATCH = 64


def train(
    configuration: TrainingConfiguration,
    data: Path,
    output: Path,
    *,
    start: Path | None = None,
    verbose: bool = True,
) -> Path:
    """Train DM-FNet, or go on with a training that was interrupted.

    Args:
        configuration: The settings.
        data: Folder of the labelled images.
        output: Folder for checkpoints, learning curves and weights.
        start: Weights of a trained DM-FNet to go on from, instead of ImageNet.
        verbose: Whether to show the progress.

    Returns:
        The file with the averaged weights of the last epoch.

    Raises:
        DataError: If images are missing or unreadable.
        ResumeError: If ``output`` holds another training.
    """
    training_set = load_training_set(configuration, data)
    validation_sets = {
        name: load_images(data / folder, INPUT_SIZE)
        for name, folder in configuration.validation.items()
    }
    claim_folder(output, configuration)
    keras.utils.set_random_seed(configuration.seed)
    network = build_dmfnet(dropout=configuration.dropout)
    if start is not None:
        network.load_weights(start)
    elif configuration.imagenet:
        load_imagenet(network, data / configuration.imagenet)
    for layer in network.layers:
        layer.trainable = not layer.name.startswith(tuple(configuration.frozen))
    trainer = build_trainer(network, configuration)
    epochs_done = restore_state(output, trainer)
    batches = BalancedBatches(
        training_set,
        batch_size=configuration.batch_size,
        batches=configuration.batches_per_epoch,
        seed=configuration.seed,
        first_epoch=epochs_done,
    )
    keeper = EpochKeeper(network, configuration, validation_sets, output)
    if epochs_done < configuration.epochs:
        trainer.fit(
            batches,
            epochs=configuration.epochs,
            initial_epoch=epochs_done,
            callbacks=[keeper],
            shuffle=False,
            verbose=_verbosity(verbose),
        )
    return averaged_weights_file(output, configuration.epochs)


def load_training_set(configuration: TrainingConfiguration, data: Path) -> LabelledImages:
    """Read the images of all sources, each as often as the configuration says."""
    sources = {configuration.train: 1, **configuration.also}
    return join_images(
        load_images(data / folder, CROP_SIZE, margin=TRAINING_MARGIN)
        for folder, times in sources.items()
        for _ in range(times)
    )


def _verbosity(verbose: bool) -> int:
    """A moving bar on a terminal, a line per epoch in a log file."""
    if not verbose:
        return 0
    return 1 if sys.stdout.isatty() else 2


def averaged_weights_file(output: Path, epoch: int) -> Path:
    """Name of the averaged weights after so many epochs."""
    return output / f"averaged-{epoch:03d}.weights.h5"


def build_trainer(network: Model, configuration: TrainingConfiguration) -> Model:
    """Put the augmentation before the network and compile it."""
    augmentation = CellAugmentation(
        INPUT_SIZE,
        zoom=configuration.zoom,
        shift=configuration.shift,
        stain=configuration.stain,
        colour=configuration.colour,
        focus=configuration.focus,
        bend=configuration.bend,
        texture=configuration.texture,
        plain=configuration.plain,
        seed=configuration.seed,
    )
    crops = Input((CROP_SIZE, CROP_SIZE, 3), dtype="uint8", name="crops")
    trainer = Model(crops, network(augmentation(crops))["logits"], name="trainer")
    trainer.compile(
        optimizer=_optimizer(configuration),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=configuration.label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


class TwoRateAdamW(keras.optimizers.AdamW):
    """AdamW that moves the backbone, which starts from ImageNet, slower than the rest.

    Args:
        slow_rate: Learning rate of the variables of the backbone relative to the others.
    """

    def __init__(self, learning_rate: Any, *, slow_rate: float = 1.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.slow_rate = slow_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # Some backends hand over a variable of their own, which does not know its layer.
        known = self._trainable_variables[self._get_variable_index(variable)]
        if self.slow_rate != 1.0 and known.path.startswith(BACKBONE_LAYERS):
            learning_rate = learning_rate * self.slow_rate
        super().update_step(gradient, variable, learning_rate)


def _optimizer(configuration: TrainingConfiguration) -> keras.optimizers.Optimizer:
    """AdamW with a warm-up, a cosine down to zero, and an average of the weights."""
    steps = configuration.epochs * configuration.batches_per_epoch
    warm_up = math.ceil(configuration.warm_up_epochs * configuration.batches_per_epoch)
    warm_up = min(warm_up, steps - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=configuration.learning_rate / 20,
        warmup_target=configuration.learning_rate,
        warmup_steps=warm_up,
        decay_steps=steps - warm_up,
        alpha=0.01,
    )
    optimizer = TwoRateAdamW(
        schedule,
        slow_rate=configuration.backbone_rate,
        weight_decay=configuration.weight_decay,
        global_clipnorm=configuration.clip_norm,
        use_ema=True,
        ema_momentum=configuration.averaging,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class EpochKeeper(keras.callbacks.Callback):
    """After each epoch: save the averaged weights, follow the validation sets, save the state."""

    def __init__(
        self,
        network: Model,
        configuration: TrainingConfiguration,
        validation_sets: dict[str, LabelledImages],
        output: Path,
    ) -> None:
        super().__init__()
        self.network = network
        self.configuration = configuration
        self.validation_sets = validation_sets
        self.output = output
        self.curves = read_curves(output)
        self.started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {"epoch": epoch + 1.0, "seconds": round(time.monotonic() - self.started, 1)}
        row |= {name: round(float(value), 5) for name, value in (logs or {}).items()}
        latest = [variable.numpy() for variable in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        self.network.save_weights(averaged_weights_file(self.output, epoch + 1))
        if self._validates(epoch + 1):
            row |= self._validate()
        for variable, value in zip(self.model.trainable_variables, latest, strict=True):
            variable.assign(value)
        self.curves = [*self.curves[:epoch], row]
        write_curves(self.output, self.curves)
        save_state(self.output, self.model, epoch + 1)

    def _validates(self, epoch: int) -> bool:
        return epoch % self.configuration.validate_every == 0 or epoch == self.configuration.epochs

    def _validate(self) -> dict[str, float]:
        scores: dict[str, float] = {}
        for name, images in self.validation_sets.items():
            outputs = self.network.predict(images.images, batch_size=EVALUATION_BATCH, verbose=0)
            predicted = np.argmax(outputs["logits"], axis=1)
            right = predicted == images.labels
            recalls = [right[images.labels == label].mean() for label in np.unique(images.labels)]
            scores[f"{name} accuracy"] = round(float(right.mean()), 5)
            scores[f"{name} balanced accuracy"] = round(float(np.mean(recalls)), 5)
        return scores
