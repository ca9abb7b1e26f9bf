"""What a run is told beside its flags: a preset, the environment, a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mergeit_async.errors import UsageError

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The published run's stage 1, temperature and tries. Its model is named as any other:
        # --model gpt-4o. Topics start as ours do, see docs/decisions/0004.
        "paper": {
            "embedder": "minilm",
            "clustering": "kmeans",
            "per_cluster": 75,
            "selection": "euclidean",
            "pairing": "first_match",
            "threshold": 0.55,
            "max_group_size": 2,
            "seed": 42,
            "temperature": 0.25,
            "max_attempts": 4,
            "timeout_s": 80.0,
        }
    }
)


def preset_values(name: str | None) -> dict[str, Any]:
    """The settings of a preset; none for None."""
    if name is None:
        return {}
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}; there is {', '.join(PRESETS)}.")
    return dict(PRESETS[name])


def environment_values() -> dict[str, Any]:
    """The settings that the environment holds (never the key itself)."""
    base_url = os.environ.get("OPENAI_BASE_URL")
    return {"base_url": base_url} if base_url else {}


def read_config(path: Path) -> dict[str, Any]:
    """The settings of a TOML file; names as on the command line, dashes or underscores."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the config file {path}: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The config file {path} is no valid TOML: {error}.") from None
    return {setting_name(key): value for key, value in values.items()}


def setting_name(key: str) -> str:
    """The field that a key of the command line or a file stands for."""
    name = key.replace("-", "_")
    return "timeout_s" if name == "timeout" else name
