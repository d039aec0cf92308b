"""What checking arguments costs: `python tests/benchmarks/bench_checks.py`.

Each line calls one function three ways in turn: bare, with this package's `@checked`, and as jaxtyping with beartype
checks it; the numbers are calls a second. The last line sets the cost of one checked call beside a training step of
the smallest preset, which makes some tens of them.
"""

from collections.abc import Callable
from functools import partial

import torch
from beartype import beartype
from jaxtyping import jaxtyped
from pairs import chip, compare, header, seconds

from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.losses import dino_loss, koleo_loss, sinkhorn_knopp
from dinov2_edu.training import build_state, draw_batch, step_generator, train_step

CALLS = 200


def repeat(call: Callable[[], object]) -> None:
    """Many calls, so that the clock's grain does not count."""
    for _ in range(CALLS):
        call()


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    print(chip("cpu"))
    logits, tokens = torch.randn(2, 4, 16), torch.randn(4, 16)
    calls = {
        "dino_loss, 2 views of 4 images, 16 prototypes": (dino_loss, (logits, logits.softmax(-1))),
        "koleo_loss, 4 tokens of 16 numbers": (koleo_loss, (tokens,)),
        "sinkhorn_knopp, 4 rows of 16": (sinkhorn_knopp, (tokens, 0.1)),
    }
    for peer, wrap in (
        ("bare", lambda bare: bare),
        ("beartype", jaxtyped(typechecker=beartype)),
    ):
        header(peer)
        for name, (function, arguments) in calls.items():
            other = wrap(function.__wrapped__)  # type: ignore[attr-defined]
            wanted = "0.8 or more" if peer == "bare" else "1 or more"
            compare(
                name, CALLS, partial(repeat, partial(other, *arguments)),
                partial(repeat, partial(function, *arguments)), wanted,
            )  # fmt: skip
    config = patterns10_run()
    state = build_state(config)
    images = torch.randint(0, 256, (config.batch_size, 3, 32, 32), dtype=torch.uint8)

    def step() -> None:
        generator = step_generator(config, 0)
        train_step(state, draw_batch(images, config, generator), generator)

    step()
    function, arguments = calls["dino_loss, 2 views of 4 images, 16 prototypes"]
    bare = partial(repeat, partial(function.__wrapped__, *arguments))  # type: ignore[attr-defined]
    cost = min(seconds(partial(repeat, partial(function, *arguments))) for _ in range(5)) - min(
        seconds(bare) for _ in range(5)
    )
    whole = min(seconds(step) for _ in range(5))
    print(f"checking one call: {1e6 * cost / CALLS:.0f} µs; a step of patterns10: {1e3 * whole:.0f} ms")


if __name__ == "__main__":
    main()
