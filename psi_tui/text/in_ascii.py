"""A text in ASCII, cell for cell where it was: for `--ascii`, and for streams whose encoding lacks our signs."""
# ruff: noqa: RUF001 characters that look alike are what this table is about

import functools
import unicodedata

from rich.cells import cell_len

UNKNOWN = "?"

_ALIKE = {
    # Box drawing: light, heavy, double, dashed and half lines; every corner and crossing.
    "-": "─━┄┅┈┉╌╍═╴╶╸╺╼╾",
    "|": "│┃┆┇┊┋╎╏║╵╷╹╻╽╿",
    "+": "┌┍┎┏┐┑┒┓└┕┖┗┘┙┚┛├┝┞┟┠┡┢┣┤┥┦┧┨┩┪┫┬┭┮┯┰┱┲┳┴┵┶┷┸┹┺┻┼┽┾┿╀╁╂╃╄╅╆╇╈╉╊╋╒╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡╢╣╤╥╦╧╨╩╪╫╬╭╮╯╰",
    "/": "╱",
    "\\": "╲",
    "X": "╳",
    # Blocks: filled from half a cell on.
    "#": "█▇▆▅▄▀▉▊▋▌▐▙▚▛▜▞▟▓■▪▰◢◣◤◥",
    " ": "▁▂▃▍▎▏▔▕▖▗▘▝\N{NO-BREAK SPACE}",
    # Arrows and pointers.
    ">": "→⇒⟶▶▷►▸▹›»❯≥",
    "<": "←⇐⟵◀◁◄◂◃‹«❮≤",
    "^": "↑⇑▲△▴▵∧",
    "v": "↓⇓▼▽▾▿∨✓✔",
    # Marks.
    "x": "×✕✗✘χ",
    "*": "●•◉◆◈★☆∗⋆",
    "o": "○◯◌◦◇◊◎",
    ".": "…·∙⋅□▫▱░",
    "~": "±≈∼∿",
    "!": "≠⚠¡",
    ":": "⋮▒",
    "'": "‘’′",
    '"': "“”″",
    "_": "‗⎯",
    # Letters, digits and signs of the field.
    "8": "∞",
    "d": "Δδ∆∂",
    "e": "εϵ€",
    "s": "σΣ§",
    "u": "µμ",
    "a": "α",
    "b": "β",
    "g": "γ",
    "l": "λ",
    "p": "πρ",
    "t": "τθ",
    "0": "⁰₀ø",
    "1": "¹₁",
    "2": "²₂",
    "3": "³₃",
    "4": "⁴₄",
    "i": "ℹⁱ",
}
_DASHES = "‐‑‒–—―−⁻"
_BRAILLE = {0x2800 + dots: " ..::::##"[dots.bit_count()] for dots in range(256)}
# Sextants in order of their bits, but for the left and the right half, which have characters elsewhere.
_SEXTANTS = {
    0x1FB00 + place: "#" if bits.bit_count() >= 3 else " "
    for place, bits in enumerate(bits for bits in range(1, 63) if bits not in (0b010101, 0b101010))
}
_TABLE = {
    **{ord(character): plain for plain, characters in _ALIKE.items() for character in characters},
    **dict.fromkeys(map(ord, _DASHES), "-"),
    **_BRAILLE,
    **_SEXTANTS,
}


@functools.lru_cache(4096)
def to_ascii(text: str) -> str:
    """A text in ASCII that takes as many cells; a wide character becomes two, an accented letter loses its accent."""
    translated = text.translate(_TABLE)
    # What joins or widens its neighbors is in no table: where nothing is left over, each character stands for itself.
    return translated if translated.isascii() else _character_by_character(text)


def _character_by_character(text: str) -> str:
    """Likewise, for what the table lacks: each character gets the cells by which it lengthens the text before it."""
    pieces, before = [], 0
    for end in range(1, len(text) + 1):
        character, length = text[end - 1], cell_len(text[:end])
        pieces.append(_alike(character) * (length - before))
        before = length
    return "".join(pieces)


def _alike(character: str) -> str:
    known = _TABLE.get(ord(character))
    if known is not None or character.isascii():
        return known or character
    letter = unicodedata.normalize("NFD", character)[0]
    return letter if character.isalpha() and letter.isascii() else UNKNOWN
