"""A model of the user's own as it is typed: its factory, and the size of its input where the module does not say it."""


def model_and_size(text: str) -> tuple[str, str]:
    """A model and the number that follows it: `nets.py:wide 28`; the size is empty where there is none."""
    model, _, size = text.strip().rpartition(" ")
    return (model.strip(), size) if size.isdecimal() and model else (text.strip(), "")
