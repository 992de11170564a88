"""Holds a fine-tuned model against the one it comes from, on cells neither was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from classifier.artifact import METADATA_FILE, ModelArtifact
from classifier.engines import create_engine
from classifier.evaluation.comparison import compare_models, format_comparison
from classifier.evaluation.evaluate import FIGURES_FILE, Evaluator, write_json
from classifier.evaluation.labelled import LabelledFile
from classifier.evaluation.report import conditions
from classifier.evaluation.run import Evaluated
from classifier.evaluation.standard import describe_reference
from classifier.training.fine_tuning import WORK_FOLDER
from classifier.training.split import Split

CARD_FILE = "MODEL_CARD.md"
COMPARISON_FILE = "comparison.json"
# Enough for quantiles of how the cells look.
_REFERENCE_IMAGES = 500
_VERDICTS = {
    "better": "**Recommended**: it is better on your cells.",
    "not shown to be better": (
        "**Not recommended**: it is not shown to be better. More signed cells would tell."
    ),
    "worse": "**Do not use it**: it is worse on your cells.",
}


def judge(
    parent: ModelArtifact, output: Path, split: Split, threads: int | None, processes: int | None
) -> dict[str, Any]:
    """Compare both models on the comparison part and write what was found into the new folder.

    Writes `training/comparison.json`, the metadata's `lineage.comparison`, `evaluation.json` (how
    the training cells look) and a short `MODEL_CARD.md`. Both models run as the service runs them.

    Args:
        parent: the old model.
        output: folder of the new one.
        split: as `fine_tune` returned it.
        threads: of the engine.
        processes: of the decoders.

    Raises:
        ModelArtifactError: the new folder is no complete model.
    """
    new = ModelArtifact.load(output)
    before = _evaluate(parent, [split.comparison], threads, processes)[0]
    step = max(1, len(split.training) // _REFERENCE_IMAGES)
    after, trained = _evaluate(new, [split.comparison, split.training[::step]], threads, processes)
    comparison = compare_models(before, after, (parent.temperature, new.temperature))
    _record(output, comparison)
    figures = {
        "model": {"name": new.name, "version": new.version, "digest": new.digest},
        "conditions": conditions(new, "onnxruntime"),
        "comparison": comparison,
        "reference": describe_reference(trained, after, ["the laboratory's own cells"]),
    }
    write_json(output / FIGURES_FILE, figures)
    (output / CARD_FILE).write_text(_card(parent, new, comparison), encoding="utf-8")
    return comparison


def _evaluate(
    artifact: ModelArtifact,
    sets: Sequence[Sequence[LabelledFile]],
    threads: int | None,
    processes: int | None,
) -> list[Evaluated]:
    engine = create_engine("onnxruntime", threads)
    engine.load(artifact)
    with Evaluator(artifact, engine, processes) as evaluator:
        return [evaluator.classify(files) for files in sets]


def _record(output: Path, comparison: Mapping[str, Any]) -> None:
    """The digest of a model does not cover this: it says what was found, and decides nothing."""
    write_json(output / WORK_FOLDER / COMPARISON_FILE, comparison)
    path = output / METADATA_FILE
    metadata = json.loads(path.read_text(encoding="utf-8"))
    kept = ("verdict", "reason", "recommended", "changes", "classes")
    metadata["lineage"]["comparison"] = {name: comparison[name] for name in kept}
    metadata["metrics"] = {"held out": comparison["new"]}
    temporary = path.with_suffix(".part")
    write_json(temporary, metadata)
    temporary.replace(path)


def format_verdict(comparison: Mapping[str, Any]) -> str:
    """What the laboratory should do, in a sentence or two."""
    return f"{_VERDICTS[comparison['verdict']]} {comparison['reason']}"


def _card(parent: ModelArtifact, new: ModelArtifact, comparison: Mapping[str, Any]) -> str:
    data = new.metadata["lineage"]["data"]
    counts = "; ".join(
        f"{part.replace('_', ' ')} {sum(data[part].values())}"
        for part in ("training", "calibration", "comparison", "mixed_in")
    )
    limits = "".join(f"- {text}\n" for text in new.metadata["limitations"])
    return (
        f"# DM-FNet {new.version}\n\nFine-tuned from {parent.version} (digest "
        f"`{parent.digest}`) on a laboratory's own signed cells ({counts}; digest of the cells "
        f"`{data['digest'][:16]}`).\n\n## Intended use\n\n{new.metadata['intended_use']}\n\n"
        f"## Held out cells, old and new\n\nCells neither model was trained on; exact "
        f"(Clopper-Pearson) 95% intervals, McNemar's exact test.\n\n"
        f"{format_comparison(comparison, (parent.version, new.version))}\n"
        f"{format_verdict(comparison)}\n\n## Limits\n\n{limits}"
    )
