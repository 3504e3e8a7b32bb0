"""Interventions: a network run with some of its responses changed at the moment they are made, and left as it was."""

from collections.abc import Collection

from torch import Tensor

from psi_core.engine.layers import LayerCall
from psi_core.engine.models import Classifier
from psi_core.engine.taps import Taps
from psi_core.errors import ModelError


def masked_logits(model: Classifier, call: LayerCall, owners: Collection[str], images: Tensor, keep: Tensor) -> Tensor:
    """Logits of one forward in which a layer's channels are 0 for the images that do not keep them.

    The channels that are kept come through bit by bit; what is set to 0 is 0 even where it was infinite.

    Args:
        model: in eval mode.
        call: of the layer, as `trace_network` saw it.
        owners: `NetworkTrace.owners`, so that calls get the same names.
        images: (batch, channel, height, width).
        keep: bool (batch, channels of the layer), on the images' device.

    Raises:
        ModelError: the layer fires in another shape than in the dry forward, or not exactly once.
    """
    fired = 0

    def receive(path: str, _kind: str, output: Tensor) -> Tensor | None:
        nonlocal fired
        if path != call.path:
            return None
        fired += 1
        if tuple(output.shape) != (len(images), *call.shape):
            raise ModelError(
                f"layer: {call.name} came with {tuple(output.shape)} and not {(len(images), *call.shape)}; "
                "only networks that run alike for every batch can be masked"
            )
        dropped = ~keep.view(*keep.shape, *(1,) * (output.dim() - 2))
        return output.clone().masked_fill_(dropped, 0)  # clone() keeps the memory format, and so the next layer's bits.

    with Taps(model.network, receive, owners={*owners, call.owner}, with_modules=not call.is_nonnegative):
        logits: Tensor = model(images)
    if fired != 1:
        raise ModelError(
            f"layer: {call.name} fired {fired} times in a forward; only networks that run alike for every batch can be "
            "masked"
        )
    return logits
