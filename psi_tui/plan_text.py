"""A run's plan in one sentence: how much it is, how long it takes, what comes first."""

from typing import Any

from psi_tui.formatting import format_bytes, format_count, format_duration


def plan_sentence(plan: dict[str, Any]) -> str:
    """`4 conditions x 7 layers x 10,000 images, about 13 min on this cpu, 12.3 MB; weights are fitted first`.

    Args:
        plan: the engine's answer.
    """
    amounts = (
        _counted(len(plan["conditions"]), "condition"),
        _counted(len(plan["layers"]), "layer"),
        _counted(plan["images"], "image"),
    )
    seconds = plan["seconds"]
    time = "time not known yet" if seconds is None else f"about {format_duration(seconds)}"
    device = "this cpu" if plan["device"] == "cpu" else plan["device"]
    place = device if plan["devices"] == 1 else f"{device} with {plan['devices']} workers"
    ending = "; weights are fitted first" if plan["fit_needed"] else ""
    return f"{' x '.join(amounts)}, {time} on {place}, {format_bytes(plan['disk_bytes'])}{ending}"


def _counted(count: int, word: str) -> str:
    return f"{format_count(count)} {word}{'' if count == 1 else 's'}"
