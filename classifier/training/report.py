"""The evaluation as text for a terminal."""

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
