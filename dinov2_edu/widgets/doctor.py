"""The doctor on the page: a training log of the reader's own, drawn and examined in the browser."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import traitlets

from dinov2_edu.checks import require
from dinov2_edu.widgets._base import BookWidget, bundle

WORDS = Path(__file__).parents[1] / "assets" / "doctor.json"
"""The sentences of `dinov2_edu.training.doctor`, which the page's control says too."""


class DoctorWidget(BookWidget):
    """Reads a training log that is chosen, dropped or pasted, and says what `training.doctor.examine` says of it.

    The log stays in the reader's browser: it is sent neither to a server nor, in a notebook, to the kernel.

    Traitlets, both readable from Python after a reader moved the control:
        sample: the name of the sample that is shown; empty for a log of the reader's own.
        n_prototypes: K, where the log does not say it; 0 for unknown.

    Args:
        samples: logs to try at once, by name: the text of one, or a dictionary as `history.json` has it, with
            `history` and, where it is known, `config`. The first is shown.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: a sample that is neither text nor has a history, or one without a name.
    """

    _esm = bundle("doctor.js")
    words = traitlets.Dict().tag(sync=True)
    samples = traitlets.Dict(key_trait=traitlets.Unicode(), value_trait=traitlets.Unicode()).tag(sync=True)
    sample = traitlets.Unicode("").tag(sync=True)
    n_prototypes = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, samples: Mapping[str, Any] | None = None, **values: Any) -> None:
        texts = {name: _text_of(name, log) for name, log in (samples or {}).items()}
        words = json.loads(WORDS.read_text(encoding="utf-8"))
        super().__init__(words=words, samples=texts, **{"sample": next(iter(texts), ""), **values})

    @traitlets.validate("sample", "n_prototypes")
    def _known(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "sample" and value not in ("", *self.samples):
            raise traitlets.TraitError(
                f"sample: wanted one of {list(self.samples)}, or '' for none, got {value!r}"
            )
        if name == "n_prototypes" and value == 1:
            raise traitlets.TraitError("n_prototypes: wanted 2 or more, or 0 for unknown, got 1")
        return value


def _text_of(name: str, log: Any) -> str:
    """A sample as text."""
    require(bool(name), "samples: one has no name")
    text = log if isinstance(log, str) else ""
    if isinstance(log, Mapping) and isinstance(log.get("history"), Mapping):
        text = json.dumps({key: log[key] for key in ("config", "history") if key in log})
    require(
        bool(text.strip()),
        f"samples: of {name!r} wanted the text of a log or a dictionary with its history, got {str(log)[:60]!r}",
    )
    return text
