"""The evaluation as text: for a terminal, and as tables for the model card."""

from __future__ import annotations

from typing import Any


def format_proportion(entry: dict[str, Any]) -> str:
    """``99.32% (98.61 to 99.73, n = 1028)``, or a dash where there is nothing to count."""
    if entry["value"] is None:
        return "-"
    low, high = entry["interval_95"]
    return f"{entry['value']:.2%} ({100 * low:.2f} to {100 * high:.2f}, n = {entry['n']})"


def format_report(report: dict[str, Any]) -> str:
    """All sets of a report, one block each."""
    lines = [f"Model {report['model']['name']} {report['model']['version']}"]
    for name, summary in report["sets"].items():
        lines += ["", f"{name}: {summary['n']} images"]
        lines += _classified(summary) if "accuracy" in summary else []
        lines += [
            f"  abstained, {group}: {format_proportion(entry)}"
            for group, entry in summary["abstained_by_group"].items()
        ]
    for name, scores in report.get("out_of_distribution_auroc", {}).items():
        lines += ["", f"{name} told from the reference, area under the ROC curve"]
        for score, groups in scores.items():
            listed = ", ".join(f"{group} {value:.4f}" for group, value in groups.items())
            lines.append(f"  {score}: {listed}")
    return "\n".join(lines)


def _classified(summary: dict[str, Any]) -> list[str]:
    lines = [
        f"  accuracy {format_proportion(summary['accuracy'])}",
        f"  balanced accuracy {summary['balanced_accuracy']:.4f}, macro F1 "
        f"{summary['macro_f1']:.4f}, kappa {summary['cohen_kappa']:.4f}, ECE "
        f"{summary['expected_calibration_error']:.4f}",
        f"  coverage {format_proportion(summary['coverage'])}",
        f"  accuracy when decided {format_proportion(summary['accuracy_when_decided'])}",
    ]
    for name, scores in summary["classes"].items():
        if scores["n"]:
            precision = "-" if scores["precision"] is None else f"{scores['precision']:.4f}"
            lines.append(
                f"  {name:<11} recall {format_proportion(scores['recall'])}, precision "
                f"{precision}, F1 {scores['f1']:.4f}"
            )
    return lines


def markdown_tables(report: dict[str, Any]) -> str:
    """The tables of a model card: all sets, the classes of each set, foreign cells."""
    blocks = [_overview(report["sets"])]
    for name, summary in report["sets"].items():
        if "accuracy" in summary:
            blocks.append(f"### {name}, by class\n\n{_class_table(summary)}")
    for name, scores in report.get("out_of_distribution_auroc", {}).items():
        groups = list(scores["ood_score"])
        rows = [
            f"| {score} | " + " | ".join(f"{values[group]:.3f}" for group in groups) + " |"
            for score, values in scores.items()
        ]
        head = f"| score | {' | '.join(groups)} |\n|---|{'---|' * len(groups)}"
        title = f"### {name} told from the reference (area under the ROC curve)"
        blocks.append("\n".join([title, "", head, *rows]))
    return "\n\n".join(blocks) + "\n"


def _overview(sets: dict[str, Any]) -> str:
    rows = [
        "| set | accuracy (95% interval) | balanced accuracy | macro F1 | kappa | ECE | "
        "coverage | accuracy when decided |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, summary in sets.items():
        if "accuracy" in summary:
            figures = " | ".join(
                f"{summary[key]:.4f}"
                for key in (
                    "balanced_accuracy",
                    "macro_f1",
                    "cohen_kappa",
                    "expected_calibration_error",
                )
            )
            rows.append(
                f"| {name} | {format_proportion(summary['accuracy'])} | {figures} | "
                f"{summary['coverage']['value']:.1%} | "
                f"{format_proportion(summary['accuracy_when_decided'])} |"
            )
    for name, summary in sets.items():
        rows += [
            f"| {name}, {group} | none of the five; abstained on {format_proportion(entry)} "
            "| | | | | | |"
            for group, entry in summary["abstained_by_group"].items()
            if "accuracy" not in summary
        ]
    return "\n".join(rows)


def _class_table(summary: dict[str, Any]) -> str:
    rows = ["| class | recall (95% interval) | precision | F1 |", "|---|---|---|---|"]
    for name, scores in summary["classes"].items():
        if scores["n"]:
            precision = "-" if scores["precision"] is None else f"{scores['precision']:.4f}"
            rows.append(
                f"| {name} | {format_proportion(scores['recall'])} | {precision} | "
                f"{scores['f1']:.4f} |"
            )
    return "\n".join(rows)
