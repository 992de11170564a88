"""What laboratories call their folders, and what is said when a name is not known."""

from pathlib import Path

import pytest

from classifier.classes import ALL_CLASSES
from classifier.evaluation.labelled import LabelError, read_labelled, read_others
from classifier.evaluation.labels import class_index, class_key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("neutrophil", "neutrophil"),
        ("Neutrophil", "neutrophil"),
        ("neutrophils", "neutrophil"),
        ("NEU", "neutrophil"),
        (" Segmented_Neutrophils ", "neutrophil"),
        ("band cells", "neutrophil"),
        ("Eos", "eosinophil"),
        ("lymphs", "lymphocyte"),
        ("MON", "monocyte"),
        ("Baso", "basophil"),
        ("NRBC", "erythroblast"),
        ("Platelets", "platelet"),
        ("metamyelocytes", "immature_granulocyte"),
        ("cat", None),
        ("", None),
    ],
)
def test_usual_spellings(name: str, key: str | None) -> None:
    assert class_key(name) == key


def test_every_class_is_known_by_key_name_and_code() -> None:
    for cell in ALL_CLASSES:
        wanted = "neutrophil" if cell.key == "band_neutrophil" else cell.key
        assert {class_key(cell.key), class_key(cell.name), class_key(cell.code)} == {wanted}
        assert (class_index(wanted) >= 0) == (cell.predicted or cell.key == "band_neutrophil")


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_folders_with_deeper_ones_and_what_systems_leave_behind(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        *("NEU/a.png", "NEU/Monday/b.JPG", "NEU/.hidden.png", "NEU/notes.txt"),
        *("Eosinophils/c.tif", "erythroblast/d.dcm", "__MACOSX/x.png", ".cache/y.png", "MON/n.txt"),
    )
    files = read_labelled(tmp_path)
    assert [(file.path.name, file.group, file.label) for file in files] == [
        ("c.tif", "eosinophil", 1),
        ("b.JPG", "neutrophil", 4),
        ("a.png", "neutrophil", 4),
        ("d.dcm", "erythroblast", -1),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_as_office_programs_write_them(tmp_path: Path, separator: str) -> None:
    rows = [
        ["Path", "Label", "Specimen"],
        ["a/1.png", "NEU", "S1"],
        ["", "", ""],
        ["2.png", "eos", ""],
    ]
    text = "\r\n".join(separator.join(row) for row in rows)
    table = tmp_path / "cells.csv"
    table.write_text("\ufeff" + text, encoding="utf-8")
    files = read_labelled(table)
    assert [(f.path, f.group, f.specimen) for f in files] == [
        (tmp_path / "a" / "1.png", "neutrophil", "S1"),
        (tmp_path / "2.png", "eosinophil", ""),
    ]


def test_a_folder_with_a_manifest_is_read_by_it(tmp_path: Path) -> None:
    _touch(tmp_path, "neutrophil/a.png", "neutrophil/b.png")
    (tmp_path / "manifest.csv").write_text("path,label,specimen\nneutrophil/a.png,monocyte,7\n")
    (file,) = read_labelled(tmp_path)
    assert (file.group, file.specimen) == ("monocyte", "7")


def test_unknown_names_are_listed_with_the_accepted_ones(tmp_path: Path) -> None:
    _touch(tmp_path, "neutrophil/a.png", "cats/b.png", "dogs/c.png")
    with pytest.raises(LabelError) as caught:
        read_labelled(tmp_path)
    message = str(caught.value)
    assert "'cats', 'dogs'" in message
    assert "neutrophil (NEU)" in message
    assert "erythroblast" in message
    assert "--other" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na.png,NEU\n", "lacks the column path"),
        ("path,label\na.png,\n", "line 2: path or label is empty"),
        ("path,label\na.png,cat\n", "label 'cat' is no class"),
        ("path,label\n", "holds no images"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    table = tmp_path / "cells.csv"
    table.write_text(content)
    with pytest.raises(LabelError, match=message):
        read_labelled(table)


def test_places_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="There is no folder and no CSV file"):
        read_labelled(tmp_path / "none")
    with pytest.raises(LabelError, match="has no sub-folders"):
        read_labelled(_touch(tmp_path / "flat", "a.png"))
    with pytest.raises(LabelError, match="holds no images"):
        read_labelled(_touch(tmp_path / "empty", "NEU/notes.txt"))


def test_other_cells_may_be_called_anything(tmp_path: Path) -> None:
    _touch(tmp_path / "strange", "a.png", "Cats/b.png", "plt/c.png")
    files = read_others(tmp_path / "strange")
    assert [(file.path.name, file.group, file.label) for file in files] == [
        ("a.png", "strange", -1),
        ("b.png", "cats", -1),
        ("c.png", "platelet", -1),
    ]
    with pytest.raises(LabelError, match="holds no images"):
        read_others(_touch(tmp_path / "none", "x.txt"))
