"""The comparison as people read it. Every number of the README's table passes through here."""

from collections.abc import Mapping
from typing import Any


def table(comparison: Mapping[str, Any]) -> str:
    """A Markdown table, a line for each model and seed, and the sentence that says what its numbers are.

    Args:
        comparison: what the compare stage writes to metrics/comparison.json.
    """
    sets = list(comparison["models"][0]["sets"])
    lines = [
        "| model | seed | " + " | ".join(sets) + " |",
        "|---|---|" + "---|" * len(sets),
    ]
    for entry in comparison["models"]:
        cells = [
            f"{100 * share['accuracy']:.2f} [{100 * share['low']:.2f}, {100 * share['high']:.2f}]"
            for share in entry["sets"].values()
        ]
        lines.append(f"| {entry['model']} | {entry['seed']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Accuracy in % on the {comparison['images']:,} test images of **{comparison['data']}**, with 95% Wilson "
        "intervals. Regime `zero`: same frame, vacated pixels black, ink past the edge lost.",
    ]
    return "\n".join(lines) + "\n"
