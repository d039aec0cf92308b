"""What can go wrong with weights."""


class WeightsUnavailable(RuntimeError):
    """The weights asked for cannot be read on this machine, nor be had over the network; says what to do."""


class WeightsRefused(WeightsUnavailable):
    """A file of weights is not what it should be: damaged, of another model, or full of what no model has."""
