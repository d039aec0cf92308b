"""One vector against eight prototypes on a circle: what a head's scores become at a temperature."""

import traitlets

from dinov2_edu.widgets._base import BookWidget, bundle


class ScoresWidget(BookWidget):
    """An arrow among prototypes, in a bottleneck that is two numbers wide, and the softmax of its scores.

    Traitlets, all readable from Python after a reader moved the control:
        angle: where the vector points, in degrees from the right, counted upwards.
        length: how long the head's MLP has made it; a prototype has length 1.
        normalise: whether it is brought to length 1 before it is compared.
        temperature: of the softmax.
        prototypes: where the prototypes point, in degrees.

    Args:
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.
    """

    _esm = bundle("scores.js")
    prototypes = traitlets.List(
        traitlets.Float(), [20.0, 48.0, 95.0, 140.0, 188.0, 228.0, 270.0, 325.0], minlen=2, maxlen=26
    ).tag(sync=True)
    angle = traitlets.Int(65, min=-180, max=180).tag(sync=True)
    length = traitlets.Float(1.0, min=0.1, max=3.0).tag(sync=True)
    normalise = traitlets.Bool(True).tag(sync=True)
    temperature = traitlets.Float(1.0, min=0.01, max=1.0).tag(sync=True)
