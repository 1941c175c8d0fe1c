"""Published numbers, which published.yaml lists with their sources."""

from functools import cache
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("published.yaml")


@cache
def entries(kind: str) -> list[dict[str, Any]]:
    """Return the published numbers that stand beside our "models" or our "variants" of the study."""
    from ruamel.yaml import YAML  # of the pipeline alone: an audit reads no YAML

    listed: list[dict[str, Any]] = YAML(typ="safe").load(PATH)[kind]
    return listed
