"""What the tabs of the results screen tell it."""

from textual.message import Message


class LayerChosen(Message):
    """Another layer came under the cursor.

    Attributes:
        layer: its name.
    """

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer


class LayerWanted(LayerChosen):
    """A layer was chosen whose histogram the user wants to see."""


class ImagesWanted(Message):
    """Some images are to be shown in their tab.

    Attributes:
        filter: words that choose them.
    """

    def __init__(self, filter: str) -> None:  # noqa: A002
        super().__init__()
        self.filter = filter
