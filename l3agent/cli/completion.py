# SPDX-License-Identifier: Apache-2.0
"""Shell completion of a parser: commands, options and choices are written into the script, names of routers are asked.

Names of routers are chosen by tenants: the script never lets the shell expand one (``compgen -W`` would).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

#: After these options comes a path.
_PATHS = ("--socket", "--config-file", "--config-dir", "--netns-path")
#: The argument that is a router of the running agent.
_ROUTER = "router"

_SCRIPT = """\
# Completion of l3-agentctl for bash{also}. Made by `l3-agentctl completion`; do not edit.
_l3_agentctl_matching() {{  # adds what begins like the word; nothing of it is expanded
    local one
    while IFS= read -r one; do
        [[ -n $one && $one == "$cur"* ]] && COMPREPLY+=("$(printf %q "$one")")
    done
}}

_l3_agentctl_routers() {{
    local i=1 where=()
    while [ $i -lt $COMP_CWORD ]; do
        case "${{COMP_WORDS[$i]}}" in
            --socket|--config-file|--config-dir) where+=("${{COMP_WORDS[$i]}}" "${{COMP_WORDS[$((i + 1))]}}") ;;
        esac
        i=$((i + 1))
    done
    "${{COMP_WORDS[0]}}" completion routers "${{where[@]}}" 2>/dev/null
}}

_l3_agentctl() {{
    local cur="${{COMP_WORDS[$COMP_CWORD]}}" prev="${{COMP_WORDS[$((COMP_CWORD - 1))]}}" command="" i=1 given=0
    COMPREPLY=()
    while [ $i -lt $COMP_CWORD ]; do
        case "${{COMP_WORDS[$i]}}" in
            {paths}) i=$((i + 1)) ;;
            -*) ;;
            *) if [ -z "$command" ]; then command="${{COMP_WORDS[$i]}}"; else given=$((given + 1)); fi ;;
        esac
        i=$((i + 1))
    done
    case "$prev" in
        {paths}) COMPREPLY=($(compgen -f -- "$cur")); return ;;
{choices}
    esac
    case "$command" in
        "") _l3_agentctl_matching <<< {commands} ;;
{cases}
    esac
}}
complete -F _l3_agentctl l3-agentctl
"""


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return what a shell is to read.

    :param shell: ``bash`` or ``zsh``.
    """
    commands = _commands(parser)
    choices: dict[str, list[str]] = {}
    for command in commands.values():
        for action in command._actions:
            if action.option_strings and action.choices:
                choices |= {name: list(map(str, action.choices)) for name in action.option_strings}
    text = _SCRIPT.format(
        also=" and zsh" if shell == "zsh" else "",
        paths="|".join(_PATHS),
        choices="\n".join(
            f"        {name}) {_match_words(words)}; return ;;" for name, words in sorted(choices.items())
        ),
        commands=_quote_words([*commands, *_options(parser)]),
        cases="\n".join(_case(name, command) for name, command in commands.items()),
    )
    # zsh reads scripts of bash by its own means (zshcompsys(1), bashcompinit).
    return f"autoload -U +X compinit bashcompinit && compinit -u && bashcompinit\n{text}" if shell == "zsh" else text


def _commands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    (subparsers,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    found: Mapping[str, argparse.ArgumentParser] = subparsers.choices
    return found


def _case(name: str, command: argparse.ArgumentParser) -> str:
    options = _match_words(_options(command))
    completed = _argument(command)
    if not completed:
        return f"        {name}) {options} ;;"
    return f'        {name}) case "$cur,$given" in -*) {options} ;; *,0) {completed} ;; esac ;;'


def _argument(command: argparse.ArgumentParser) -> str:
    """Return what completes the first argument of a command; nothing where only its user knows."""
    first = next((action for action in command._actions if not action.option_strings), None)
    if first is None:
        return ""
    if first.choices:
        return _match_words(list(map(str, first.choices)))
    return "_l3_agentctl_matching < <(_l3_agentctl_routers)" if first.dest == _ROUTER else ""


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings if name.startswith("--")]


def _match_words(words: list[str]) -> str:
    return f"_l3_agentctl_matching <<< {_quote_words(words)}"


def _quote_words(words: list[str]) -> str:
    """Return words, one a line, as bash reads them; they are our own, without quotes and backslashes."""
    return "$'" + "\\n".join(words) + "'"
