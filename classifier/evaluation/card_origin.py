"""What a model card says of where the model comes from: seeds, speed, data, training."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from classifier.evaluation.filters import NOTHING, number, percent
from classifier.evaluation.markdown import table
from classifier.evaluation.standard import EXTERNAL_SETS, FOREIGN_SET, REFERENCE_SET

# The sets that only evaluate, unless the metadata says otherwise: what, licence, images, doi.
_EVALUATED = {
    FOREIGN_SET: "PBC, erythroblasts, immature granulocytes and platelets: evaluation only",
    "bccd/external": "BCCD, crops around the white cells",
    "jtsc/external": "JTSC (Zheng et al. 2018, Micron): evaluation only",
}
_LICENCES = {
    FOREIGN_SET: ("CC BY 4.0", "1800", "10.17632/snkd93bnjr.1"),
    "bccd/external": ("MIT", "351", NOTHING),
    "jtsc/external": ("GPL-3.0", "300", NOTHING),
}


def describe_seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    if len(rows) < 2:
        return ""
    columns = ("accuracy", "macro_f1", "ece", *EXTERNAL_SETS, "auroc")
    lines = [
        (str(row["seed"] if row["seed"] is not None else NOTHING), *_seed_cells(row, columns))
        for row in rows
    ]
    for title, summary in (("mean", statistics.mean), ("standard deviation", statistics.stdev)):
        merged = {}
        for name in columns:
            values = [row[name] for row in rows if row[name] is not None]
            merged[name] = summary(values) if len(values) == len(rows) else None
        lines.append((title, *_seed_cells(merged, columns)))
    head = ("seed", f"{REFERENCE_SET}", "macro F1", "ECE", *EXTERNAL_SETS, f"{FOREIGN_SET} AUROC")
    return (
        f"## Seeds\n\n{len(rows)} trainings that differ in their seed alone; the first is the one "
        f"shipped. Balanced accuracy (classes with over two images) outside {REFERENCE_SET}.\n\n"
        + table(head, lines)
    )


def _seed_cells(row: Mapping[str, Any], columns: Sequence[str]) -> Iterable[str]:
    for name in columns:
        value = row[name]
        yield number(value, 4) if name in ("macro_f1", "auroc") else percent(value, 2)


def describe_speed(figures: Mapping[str, Any]) -> str:
    speed, measured = figures["speed"], figures["conditions"]
    return (
        f"## Speed\n\nOn {measured['processor']} with {measured['usable_cpus']} usable CPUs, "
        f"{measured['engine']} {measured['engine_version']}, the machine as busy as it was: "
        f"{speed['prepare_ms']:.2f} ms to prepare an image, {speed['one_image_ms']:.1f} ms to "
        f"classify one, {speed['image_in_batch_ms']:.1f} ms each in a batch.\n"
    )


def describe_data(sources: Sequence[Mapping[str, Any]], sets: Iterable[str]) -> str:
    """What it was trained on, by its metadata, and the sets of this card that are not in that."""
    rows = [
        (
            source["name"],
            source["licence"],
            str(source["images"]) if source.get("images") else NOTHING,
            source.get("doi") or NOTHING,
        )
        for source in sources
    ]
    rows += [(_EVALUATED[name], *_LICENCES[name]) for name in sets if name in _EVALUATED]
    return f"## Data\n\n{table(('data', 'licence', 'images', 'doi'), rows)}"


def describe_training(metadata: Mapping[str, Any]) -> str:
    training = metadata["training"]
    lines = [f"{training['epochs']} epochs"] if training.get("epochs") else []
    lines += [f"seed {training['seed']}"] if training.get("seed") is not None else []
    lines += [f"{training['hours']:.2g} hours"] if training.get("hours") else []
    lines += [training["hardware"]] if training.get("hardware") else []
    text = f"## Training\n\n{'; '.join(lines)}.\n" if lines else "## Training\n"
    if training.get("command"):
        text += f"\n```\n{training['command']}\n```\n"
    if training.get("remarks"):
        text += f"\n{training['remarks']}\n"
    return text + (
        "\nThe figures above: `python manage.py evaluate_model --card` with WBCLAB_DATA at the "
        "folder of the labelled images.\n"
    )


def describe_lineage(lineage: Mapping[str, Any] | None) -> str:
    if not lineage:
        return ""
    parent = lineage["parent"]
    return (
        f"## Lineage\n\nFine-tuned from version {parent['version']} (digest "
        f"`{parent['digest']}`).\n"
    )
