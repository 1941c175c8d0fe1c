from shiftlab import report


def share(accuracy: float, low: float, high: float) -> dict[str, float]:
    return {"accuracy": accuracy, "low": low, "high": high}


COMPARISON = {
    "data": "mnist",
    "images": 10_000,
    "models": [
        {"model": "mlp", "seed": 0, "sets": {"clean": share(0.97891, 0.976, 0.98149), "right5": share(0.5, 0.4, 0.6)}},
        {"model": "lenet", "seed": 3, "sets": {"clean": share(1.0, 0.99962, 1.0), "right5": share(0.0, 0.0, 0.00038)}},
    ],
}


def test_table_has_a_line_for_each_model_and_a_column_for_each_set() -> None:
    assert report.table(COMPARISON).splitlines()[:4] == [
        "| model | seed | clean | right5 |",
        "|---|---|---|---|",
        "| mlp | 0 | 97.89 [97.60, 98.15] | 50.00 [40.00, 60.00] |",
        "| lenet | 3 | 100.00 [99.96, 100.00] | 0.00 [0.00, 0.04] |",
    ]


def test_table_says_what_its_numbers_are() -> None:
    sentence = report.table(COMPARISON).split("\n\n")[1]
    for fact in ("10,000 test images", "mnist", "%", "95% Wilson", "`zero`", "vacated pixels black"):
        assert fact in sentence


def test_table_ends_with_one_newline() -> None:
    text = report.table(COMPARISON)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
