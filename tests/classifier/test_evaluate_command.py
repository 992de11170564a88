"""`manage.py evaluate_model`: on a laboratory's folder, on tiny sets, and for the model card."""

import base64
import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from classifier.artifact import DEFAULT_FOLDER, ModelArtifact
from classifier.classes import CELL_CLASSES
from classifier.evaluation import standard
from classifier.evaluation.card import render_card
from classifier.evaluation.evaluate import Evaluator
from classifier.evaluation.regenerate import CARD_COMMAND
from classifier.synthetic import draw_cell, save_jpeg
from classifier.synthetic.no_cells import draw_without_cell

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).resolve().parents[2]
# Two kinds of none of the five classes, as a laboratory might have them.
SECRET = "<b>Mrs Doe</b>"


@pytest.fixture(autouse=True)
def _small_machine(settings: Any) -> Iterator[None]:
    settings.DECODER_PROCESSES = 1
    settings.ENGINE = "onnxruntime"
    settings.ENGINE_THREADS = 1
    yield


def draw_set(folder: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    """Drawn cells, one sub-folder per class."""
    for name, count in counts.items():
        (folder / name.lower()).mkdir(parents=True)
        for number in range(count):
            kind = name if name in CELL_CLASSES else "Lymphocyte"
            save_jpeg(draw_cell(kind, first_seed + number), folder / name.lower() / f"{number}.jpg")
    return folder


def evaluate(*arguments: object, **options: Any) -> str:
    out = StringIO()
    call_command("evaluate_model", *map(str, arguments), stdout=out, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of each class, one of them under a wrong name, a damaged file, other cells."""
    folder = draw_set(tmp_path_factory.mktemp("laboratory"), dict.fromkeys(CELL_CLASSES, 2))
    (folder / "neutrophil").rename(folder / "NEU")
    save_jpeg(draw_cell("Basophil", 9), folder / "monocyte" / f"{SECRET.replace('/', '')}.jpg")
    (folder / "eosinophil" / "letter.jpg").write_text("Dear colleague")
    (folder / "erythroblast").mkdir()
    save_jpeg(draw_without_cell("tissue", 1), folder / "erythroblast" / "a.jpg")
    return folder


class _Links(HTMLParser):
    """Everything a page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_holds_everything_in_one_file(laboratory: Path, tmp_path: Path) -> None:
    text = evaluate(laboratory, output=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    cells = report["cells"]
    assert cells["n"] == sum(map(sum, cells["confusion_matrix"])) == 11
    assert set(cells["classes"]) == set(CELL_CLASSES)
    assert cells["accuracy"]["value"] >= 0.7
    (unread,) = report["unreadable"]
    assert unread["path"].endswith("letter.jpg") and "not an image" in unread["reason"].lower()
    assert report["foreign"]["abstained_by_group"]["erythroblast"]["n"] == 1
    assert report["conditions"]["model_digest"] == ModelArtifact.load(DEFAULT_FOLDER).digest
    assert report["conditions"]["preprocessing_version"] in text or text
    worst = report["worst_mistakes"][0]
    assert (worst["label"], worst["predicted"]) == ("Monocyte", "Basophil")

    page = (tmp_path / "out" / "evaluation.html").read_text()
    links = _Links()
    links.feed(page)
    assert all(link.startswith("data:image/jpeg;base64,") for link in links.loaded)
    assert len(links.loaded) == len(report["worst_mistakes"])
    picture = base64.b64decode(links.loaded[0].partition(",")[2])
    assert picture[:2] == b"\xff\xd8"
    assert "url(" not in page and "@import" not in page and "script" not in links.tags
    assert links.tags.count("svg") == 3  # too few cells for a reliability diagram
    assert "<b>Mrs Doe" not in page and "<b>Mrs Doe" in links.text
    assert "prefers-color-scheme" in page and "@media print" in page
    for heading in ("look like those the model was trained on", "Worst mistakes", "Abstention"):
        assert heading in links.text
    assert report["conditions"]["model_digest"] in links.text


def test_other_folders_and_the_accepted_names(laboratory: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    for kind in ("blank", "noise"):
        (others / kind).mkdir(parents=True)
        save_jpeg(draw_without_cell(kind, 2), others / kind / "x.jpg")
    text = evaluate(laboratory, "--other", others, output=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    scores = report["out_of_distribution_auroc"]["ood_score"]
    assert set(scores) == {"all", "blank", "erythroblast", "noise"}
    assert "Noise" in text and "Erythroblast" in text

    (others / "NEU").mkdir()
    with pytest.raises(CommandError, match="'blank', 'noise' is no class known here"):
        evaluate(others, output=tmp_path / "out")


@pytest.mark.parametrize(
    ("counts", "broken", "remark"),
    [
        ({"Monocyte": 1}, 0, "No image of Basophil, Eosinophil, Lymphocyte and Neutrophil"),
        ({"Lymphocyte": 1, "Neutrophil": 2}, 1, "3 cells are too few to judge the calibration"),
        ({}, 2, "No image of the five classes was read"),
        ({"Erythroblast": 1}, 1, "No image of the five classes was read"),
    ],
)
def test_tiny_sets_have_a_report_too(
    tmp_path: Path, counts: dict[str, int], broken: int, remark: str
) -> None:
    folder = draw_set(tmp_path / "set", counts)
    (folder / "basophil").mkdir(parents=True)
    for number in range(broken):
        (folder / "basophil" / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    text = evaluate(folder, output=tmp_path / "out")
    assert remark in text
    assert "nan" not in text.lower()
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert not re.search(r"\bnan\b|\bNone\b(?!\.)|\binf\b", _text_of(page))
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert len(report["unreadable"]) == broken
    assert report["cells"]["n"] == sum(counts[name] for name in counts if name in CELL_CLASSES)


def _text_of(page: str) -> str:
    links = _Links()
    links.feed(page)
    return links.text


def test_a_table_may_name_missing_files(laboratory: Path, tmp_path: Path) -> None:
    table = tmp_path / "cells.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerow([laboratory / "basophil" / "0.jpg", "basophils"])
        writer.writerow(["lost.jpg", "basophil"])
    text = evaluate(table, output=tmp_path / "out")
    assert "1 files could not be read" in text
    assert "lost.jpg" in text


def test_mistakes_of_the_caller_are_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no folder and no CSV file"):
        evaluate(tmp_path / "none", output=tmp_path)
    with pytest.raises(CommandError, match="There is no model"):
        evaluate(tmp_path, model=tmp_path, output=tmp_path)
    with pytest.raises(CommandError, match="either a folder"):
        evaluate(output=tmp_path)
    with pytest.raises(CommandError, match="no pbc/val"):
        evaluate(card=True, data=tmp_path, output=tmp_path)


def test_no_training_library_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; import classifier.management.commands.evaluate_model;"
        "print([m for m in ('keras', 'tensorflow', 'matplotlib', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import django; {code}"],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "wbclab.settings", "WBCLAB_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder as small as can be, and few drawn pictures."""
    monkeypatch.setattr(standard, "_DRAWN_OF_EACH_KIND", 1)
    folder = tmp_path / "data"
    draw_set(folder / "pbc" / "val", dict.fromkeys(CELL_CLASSES, 1))
    draw_set(folder / "pbc" / "train", dict.fromkeys(CELL_CLASSES, 2), first_seed=50)
    draw_set(folder / "pbc_other" / "val", {"Platelet": 2, "Erythroblast": 2}, first_seed=70)
    return folder


def test_the_card_is_written_and_its_reference_used(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in DEFAULT_FOLDER.iterdir():
        if file.name not in ("MODEL_CARD.md", "evaluation.json"):
            (model / file.name).write_bytes(file.read_bytes())
    text = evaluate(card=True, data=data, model=model, output=tmp_path / "charts")
    assert "pbc/val: accuracy at least 99.7%" in text
    figures = json.loads((model / "evaluation.json").read_text())
    card = (model / "MODEL_CARD.md").read_text()
    metadata = json.loads((model / "metadata.json").read_text())
    assert card == render_card(metadata, figures)
    assert figures["conditions"]["command"] == CARD_COMMAND
    assert str(tmp_path) not in json.dumps(figures)
    assert set(figures["sets"]) == {"pbc/val", "pbc_other/val", "no_cells"}
    # The score was fitted on one half: the other is measured.
    assert figures["sets"]["pbc_other/val"]["n"] == 2 and "these are the others" in card
    assert "no_cells: tissue" in card and "pbc_other/val: platelet" in card
    assert "## Seeds" not in card
    charts = {path.name for path in (tmp_path / "charts").iterdir()}
    assert {"pbc_val_confusion.svg", "out_of_distribution.svg", "learning_curves.svg"} <= charts

    # A second training is only measured already: its figures make the table.
    figures["seed"] = 7
    (tmp_path / "seed7.json").write_text(json.dumps(figures))
    evaluate(
        *("--card", "--data", data, "--model", model, "--output", tmp_path / "charts"),
        *("--seeds", tmp_path / "seed7.json"),
    )
    card = (model / "MODEL_CARD.md").read_text()
    assert "2 trainings that differ in their seed alone" in card and "| 7 |" in card
    with pytest.raises(CommandError, match="holds no figures of a training"):
        evaluate(
            *("--card", "--data", data, "--model", model, "--output", tmp_path / "charts"),
            *("--seeds", tmp_path / "none.json"),
        )

    # Ten cells like those it was "trained" on.
    draw_set(tmp_path / "own", dict.fromkeys(CELL_CLASSES, 2), first_seed=90)
    evaluate(tmp_path / "own", model=model, output=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["likeness"]["rows"]
    assert report["likeness"]["answer"] != "unknown"


def test_the_shipped_card_is_what_the_command_writes() -> None:
    metadata = json.loads((DEFAULT_FOLDER / "metadata.json").read_text(encoding="utf-8"))
    figures = json.loads((DEFAULT_FOLDER / "evaluation.json").read_text(encoding="utf-8"))
    shipped = (DEFAULT_FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert shipped == render_card(metadata, figures), "run manage.py evaluate_model --card"
    assert figures["model"]["digest"] == ModelArtifact.load(DEFAULT_FOLDER).digest


def test_small_pictures_do_not_stay_behind(laboratory: Path, tmp_path: Path) -> None:
    from classifier.engines import create_engine
    from classifier.evaluation.labelled import read_labelled

    artifact = ModelArtifact.load(DEFAULT_FOLDER)
    engine = create_engine("onnxruntime", 1)
    engine.load(artifact)
    with Evaluator(artifact, engine, 1) as evaluator:
        evaluated = evaluator.classify(read_labelled(laboratory)[:2])
        pictures = [one.picture for one in evaluated.judged if one.picture]
        assert all(picture.is_file() for picture in pictures) and pictures
    assert not any(picture.exists() for picture in pictures)
