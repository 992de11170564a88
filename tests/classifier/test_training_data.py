"""Reading labelled images, drawing batches, and the settings of a training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.training.configuration import (
    DEFAULT_CONFIGURATION,
    ConfigurationError,
    read_configuration,
)
from classifier.training.data import (
    CLASS_KEYS,
    BalancedBatches,
    DataError,
    LabelledImages,
    data_folder,
    load_images,
)


def write_cells(folder: Path, counts: dict[str, int], size: int = 40) -> Path:
    """Flat pictures, one colour per class, in one sub-folder per class."""
    random = np.random.default_rng(0)
    for group, count in counts.items():
        (folder / group).mkdir(parents=True)
        shade = 40 * (1 + sorted(counts).index(group))
        for index in range(count):
            pixels = random.integers(shade, shade + 40, (size, size, 3)).astype(np.uint8)
            pixels[:4] = 240
            Image.fromarray(pixels).save(folder / group / f"{index}.png")
    return folder


def _in_memory(counts: list[int]) -> LabelledImages:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return LabelledImages(images, labels, (Path(),) * len(labels), ("",) * len(labels))


def test_folders(tmp_path: Path) -> None:
    data = load_images(write_cells(tmp_path, {"monocyte": 2, "basophil": 1}), 16)
    assert data.images.shape == (3, 16, 16, 3)
    assert data.labels.tolist() == [0, 3, 3]
    assert data.groups == ("basophil", "monocyte", "monocyte")


def test_table(tmp_path: Path) -> None:
    write_cells(tmp_path, {"monocyte": 2})
    table = tmp_path / "cells.csv"
    table.write_text("path,label\nmonocyte/0.png,Monocyte\nmonocyte/1.png,neutrophil\n")
    assert load_images(table, 16).labels.tolist() == [3, 4]


def test_foreign_cells_have_no_class(tmp_path: Path) -> None:
    folder = write_cells(tmp_path, {"platelet": 1, "neutrophil": 1})
    assert load_images(folder, 16, only_classes=False).labels.tolist() == [4, -1]
    with pytest.raises(DataError, match="platelet"):
        load_images(folder, 16)


def test_errors_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_images(tmp_path / "absent", 16)
    with pytest.raises(DataError, match="no sub-folders"):
        load_images(tmp_path, 16)
    folder = write_cells(tmp_path, {"monocyte": 1})
    (folder / "basophil").mkdir()
    with pytest.raises(DataError, match="without images"):
        load_images(folder, 16)
    (folder / "basophil" / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        load_images(folder, 16)
    table = tmp_path / "cells.csv"
    table.write_text("file\nx\n")
    with pytest.raises(DataError, match="label"):
        load_images(table, 16)


def test_data_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBCLAB_DATA", "elsewhere")
    assert data_folder() == Path("elsewhere")
    monkeypatch.delenv("WBCLAB_DATA")
    assert data_folder().parts[-2:] == ("shared", "data")


def test_rare_classes_are_drawn_more_often() -> None:
    batches = BalancedBatches(_in_memory([4, 36, 4, 4, 100]), batch_size=8, batches=4, seed=0)
    drawn = np.concatenate([batches[index][1].argmax(axis=1) for index in range(4)])
    counts = np.bincount(drawn, minlength=5)
    # Square roots 2, 6, 2, 2, 10 of 22, times 32 drawings.
    assert np.abs(counts - np.array([2, 6, 2, 2, 10]) / 22 * 32).max() <= 1.5
    assert batches[0][0].dtype == np.uint8


def test_order_depends_on_seed_and_epoch_only() -> None:
    data = _in_memory([9, 9, 9, 9, 9])
    first = BalancedBatches(data, batch_size=5, batches=3, seed=1)
    first.on_epoch_end()
    resumed = BalancedBatches(data, batch_size=5, batches=3, seed=1, first_epoch=1)
    assert np.array_equal(first.order, resumed.order)
    other = BalancedBatches(data, batch_size=5, batches=3, seed=2, first_epoch=1)
    assert not np.array_equal(first.order, other.order)


def test_absent_class_is_never_drawn() -> None:
    batches = BalancedBatches(_in_memory([0, 5, 5, 5, 5]), batch_size=10, batches=1, seed=0)
    assert 0 not in batches[0][1].argmax(axis=1)
    assert len(batches.order) == 10


def test_shipped_configuration_is_valid() -> None:
    configuration = read_configuration(DEFAULT_CONFIGURATION)
    assert configuration.train == "pbc/train"
    forbidden = {"bccd", "jtsc"}
    assert not forbidden & set(configuration.train.split("/"))
    assert next(iter(configuration.validation)) == "pbc/val"


def test_configuration_errors(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(ConfigurationError, match="no such"):
        read_configuration(path)
    path.write_text("train = 'a'\nlearning = 1\n[validation]\nv = 'v'\n")
    with pytest.raises(ConfigurationError, match="learning"):
        read_configuration(path)
    path.write_text("train = \n")
    with pytest.raises(ConfigurationError, match="TOML"):
        read_configuration(path)
    path.write_text("seed = 1\n")
    with pytest.raises(ConfigurationError, match="incomplete"):
        read_configuration(path)
    path.write_text("train = 'a'\n[validation]\nv = 'v'\n")
    with pytest.raises(ConfigurationError, match="received 0"):
        read_configuration(path, epochs=0)
    assert read_configuration(path, epochs=None, seed=7).seed == 7


def test_class_keys_are_the_folders() -> None:
    assert CLASS_KEYS == ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
