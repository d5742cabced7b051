# SPDX-License-Identifier: Apache-2.0
"""Escapes untrusted text (ids, names, error messages of a server) for logs and terminals."""

from __future__ import annotations

import re

# C0 and C1 control characters (ECMA-48), and the separators at which some viewers break lines.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS_IN_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
#: Control characters except the SGR sequences that this program writes to colour its own text.
_CONTROLS_BESIDE_COLOUR = re.compile("\x1b(?!\\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029]")


def escape_controls(text: str) -> str:
    """Return one line of text with control characters replaced by Python escape sequences."""
    return _CONTROLS.sub(_escape, text)


def escape_lines(text: str, *, colour: bool = False) -> str:
    """Return text of several lines with control characters except tab and newline replaced by escape sequences.

    :param colour: keep SGR sequences, which colour text of this program.
    """
    return (_CONTROLS_BESIDE_COLOUR if colour else _CONTROLS_IN_LINES).sub(_escape, text)


def shorten(text: str, limit: int = 300) -> str:
    """Return text cut to at most ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
