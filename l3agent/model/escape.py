# SPDX-License-Identifier: Apache-2.0
"""Text of others (ids, names, error messages of a server) made safe for logs and terminals."""

from __future__ import annotations

import re

# C0 and C1 control characters (ECMA-48), and the separators that some viewers break lines at.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS_IN_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
#: Sequences that this program writes to colour its own text (SGR).
_CONTROLS_BESIDE_COLOUR = re.compile("\x1b(?!\\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029]")


def escape_controls(text: str) -> str:
    """Return one line of text with every control character as a Python escape sequence."""
    return _CONTROLS.sub(_escaped, text)


def escape_lines(text: str, *, colour: bool = False) -> str:
    """Return text of several lines with every control character but tab and newline as an escape sequence.

    :param colour: the text has colours of this program, which stay.
    """
    return (_CONTROLS_BESIDE_COLOUR if colour else _CONTROLS_IN_LINES).sub(_escaped, text)


def shorten(text: str, most: int = 300) -> str:
    """Return text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
