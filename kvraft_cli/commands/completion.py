"""`completion`: scripts that let a shell complete commands and flags.

Made from the table of commands and from the parsers of our own ones, so that nothing is missing;
the scripts are static: pressing Tab starts no Python.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from kvraft_cli import own
from kvraft_cli.flags import BOOL, Flag
from kvraft_cli.table import COMMANDS, GLOBAL_FLAGS, HELP, OWN, PROGRAM, Command

if TYPE_CHECKING:
    from kvraft_cli.context import Context

EPILOG: Final = """\
examples:
  source <(kvraftctl completion bash)                     in this shell
  kvraftctl completion bash > /etc/bash_completion.d/kvraftctl
  kvraftctl completion zsh > ~/.zfunc/_kvraftctl          (~/.zfunc in $fpath)
  kvraftctl completion fish > ~/.config/fish/completions/kvraftctl.fish

A link named etcdctl is completed, too, with --name etcdctl.

exit codes: 0 printed; 2 bad arguments
"""
SHELLS: Final = ("bash", "zsh", "fish")
OUTPUTS: Final = ("simple", "extended", "json")


class Option(NamedTuple):
    """A flag as it is typed, with two dashes; what may follow it, if it takes a value."""

    name: str
    summary: str
    takes_value: bool
    files: bool = False
    choices: tuple[str, ...] = ()
    short: str = ""

    @property
    def pattern(self) -> str:
        """All its spellings in a `case` of a shell."""
        return f"{self.name}|{self.short}" if self.short else self.name


class Completed(NamedTuple):
    """One command, or `GROUP SUB`, and what may be typed after it."""

    words: tuple[str, ...]
    summary: str
    options: tuple[Option, ...]
    files: bool = False
    choices: tuple[str, ...] = ()


def main(context: Context, words: list[str]) -> int:
    """The command."""
    return own.run(context, make_parser(context), words, _print)


def make_parser(context: Context) -> own.Parser:
    """The arguments of this command."""
    parser = own.Parser(context, "completion", "Print a script for a shell.", EPILOG)
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    parser.add_argument(
        "--name",
        type=_program,
        default=PROGRAM,
        metavar="PROGRAM",
        help=f"the command it is for ({PROGRAM})",
    )
    return parser


def _program(text: str) -> str:
    # It becomes the name of a function of the shell, and must not become anything else of it.
    if not (text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum()):
        import argparse

        raise argparse.ArgumentTypeError(f"{text!r} has to be a command's name, such as etcdctl")
    return text


async def _print(context: Context, settings: own.Settings) -> int:
    commands = all_commands(context)
    globals_ = tuple(_option(flag) for flag in GLOBAL_FLAGS)
    make = {"bash": bash, "zsh": zsh, "fish": fish}[settings.shell]
    context.stdout.write(make(settings.name, globals_, commands))
    return 0


# --- what there is ----------------------------------------------------------------------


def all_commands(context: Context) -> list[Completed]:
    """Every command that may be typed, in the order of the help; our own ones last."""
    found: list[Completed] = []
    for entry in COMMANDS:
        if isinstance(entry, Command):
            found.append(_completed((entry.name,), entry))
            continue
        found.append(Completed((entry.name,), entry.summary, (_option(HELP),)))
        found += [_completed((entry.name, command.name), command) for command in entry.commands]
    names = (*(entry.name for entry in COMMANDS), *OWN)
    found.append(Completed(("help",), "show help", (), choices=names))
    found += [_own(context, name, place) for name, place in OWN.items()]
    return found


def _completed(words: tuple[str, ...], command: Command) -> Completed:
    options = tuple(_option(flag) for flag in (*command.flags, HELP))
    return Completed(words, command.summary, options)


def _option(flag: Flag) -> Option:
    name = flag.names[0]
    files = name.endswith(("-file", "-dir")) or name == "snap"
    choices = OUTPUTS if name == "output" else ()
    short = f"-{flag.names[1]}" if len(flag.names) > 1 else ""
    return Option(f"--{name}", flag.summary, flag.kind != BOOL, files, choices, short)


def _own(context: Context, name: str, place: str) -> Completed:
    module = importlib.import_module(place.partition(":")[0])
    parser: own.Parser = module.make_parser(context)
    options: list[Option] = []
    files = False
    choices: tuple[str, ...] = ()
    for action in parser._actions:  # argparse shows them in no other way
        words = tuple(str(choice) for choice in action.choices or ())
        wants_file = action.metavar == "FILE" or action.dest == "file"
        if not action.option_strings:
            files, choices = files or wants_file, words or choices
            continue
        summary = (action.help or "").split("; ")[0]
        long = next(word for word in reversed(action.option_strings) if word.startswith("--"))
        options.append(Option(long, summary, action.nargs != 0, wants_file, words))
    return Completed(
        (name,), (parser.description or "").rstrip("."), tuple(options), files, choices
    )


# --- bash -------------------------------------------------------------------------------


def bash(name: str, globals_: Sequence[Option], commands: Sequence[Completed]) -> str:
    """A function for `complete -F`."""
    function = f"_{name.replace('-', '_')}"
    lines = [
        f"# bash completion for {name}; made by `{PROGRAM} completion bash`",
        f"{function}() {{",
        "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}",
        "    local at=1 command='' sub=''",
        "    COMPREPLY=()",
        "    while (( at < COMP_CWORD )); do",
        "        case ${COMP_WORDS[at]} in",
        f"            {_taking(globals_)}) (( at += 1 )) ;;",
        "            -*|=) ;;",
        "            *) if [[ -z $command ]]; then command=${COMP_WORDS[at]}",
        "               elif [[ -z $sub ]]; then sub=${COMP_WORDS[at]}; fi ;;",
        "        esac",
        "        (( at += 1 ))",
        "    done",
        '    case "$command" in',
        f'        {"|".join(_groups(commands))}) command="$command $sub" ;;',
        "    esac",
        '    case "${command% }" in',
    ]
    for words, _, options, files, choices in (_top(globals_, commands), *commands):
        lines.append(f"        {_bash_word(' '.join(words))})")
        lines += _bash_options(options, files, (*choices, *_subs(words, commands)))
        lines.append("            ;;")
    lines += ["    esac", "}", f"complete -F {function} {name}", ""]
    return "\n".join(lines)


def _bash_options(options: Sequence[Option], files: bool, words: Sequence[str]) -> Iterator[str]:
    special = [option for option in options if option.takes_value]
    if special:
        yield '            case "$previous" in'
        for option in special:
            if option.files:
                action = 'COMPREPLY=($(compgen -f -- "$word"))'
            elif option.choices:
                action = f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$word"))'
            else:
                action = ":"
            yield f"                {option.pattern}) {action}; return ;;"
        yield "            esac"
    names = " ".join(option.name for option in options)
    yield f'            if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "{names}" -- "$word"))'
    if words:
        yield f'            else COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word"))'
    elif files:
        yield '            else COMPREPLY=($(compgen -f -- "$word"))'
    yield "            fi"


def _bash_word(word: str) -> str:
    return f'"{word}"' if " " in word or not word else word


def _taking(options: Sequence[Option]) -> str:
    return "|".join(option.pattern for option in options if option.takes_value)


def _top(globals_: Sequence[Option], commands: Sequence[Completed]) -> Completed:
    names = tuple(dict.fromkeys(command.words[0] for command in commands))
    return Completed((), "", tuple(globals_), choices=names)


def _groups(commands: Sequence[Completed]) -> list[str]:
    return list(dict.fromkeys(c.words[0] for c in commands if len(c.words) == 2))


def _subs(words: tuple[str, ...], commands: Sequence[Completed]) -> list[str]:
    if len(words) != 1:
        return []
    return [c.words[1] for c in commands if len(c.words) == 2 and c.words[0] == words[0]]


# --- zsh --------------------------------------------------------------------------------


def zsh(name: str, globals_: Sequence[Option], commands: Sequence[Completed]) -> str:
    """A function for compinit."""
    lines = [
        f"#compdef {name}",
        f"# zsh completion for {name}; made by `{PROGRAM} completion zsh`",
        "local context state state_descr line",
        "typeset -A opt_args",
        "_arguments -C \\",
        *(f"    {_zsh_option(option)} \\" for option in globals_),
        "    '1: :->command' '*:: :->rest' && return",
        "case $state in",
        "    command)",
        "        local -a commands=(",
        *(f"            {_zsh_pair(c.words[0], c.summary)}" for c in commands if len(c.words) == 1),
        "        )",
        "        _describe command commands ;;",
        "    rest)",
        "        case $words[1] in",
    ]
    for command in commands:
        if len(command.words) == 1:
            lines.append(f"            {command.words[0]})")
            lines += _zsh_command(command, commands)
            lines.append("                ;;")
    lines += ["        esac ;;", "esac", ""]
    return "\n".join(lines)


def _zsh_command(command: Completed, commands: Sequence[Completed]) -> Iterator[str]:
    subs = [c for c in commands if len(c.words) == 2 and c.words[0] == command.words[0]]
    if subs:
        yield "                if (( CURRENT == 2 )); then"
        yield "                    local -a subs=("
        for sub in subs:
            yield f"                        {_zsh_pair(sub.words[1], sub.summary)}"
        yield "                    )"
        yield "                    _describe subcommand subs"
        yield "                else"
        yield "                    case $words[2] in"
        for sub in subs:
            options = " ".join(_zsh_option(option) for option in sub.options)
            yield f"                        {sub.words[1]}) _arguments {options} ;;"
        yield "                    esac"
        yield "                fi"
        return
    parts = [_zsh_option(option) for option in command.options]
    if command.choices:
        parts.append(f"'1: :({' '.join(command.choices)})'")
    elif command.files:
        parts.append("'*: :_files'")
    yield f"                _arguments {' '.join(parts)}" if parts else "                :"


def _zsh_option(option: Option) -> str:
    text = f"{option.name}{'=' if option.takes_value else ''}[{_zsh_text(option.summary)}]"
    if option.files:
        text += ": :_files"
    elif option.choices:
        text += f": :({' '.join(option.choices)})"
    elif option.takes_value:
        text += ": : "
    return f"'{text}'"


def _zsh_text(text: str) -> str:
    text = text.replace("'", "").replace("\\", "").replace('"', "").replace("`", "")
    return text.replace("[", "(").replace("]", ")").replace(":", "\\:")


def _zsh_pair(word: str, summary: str) -> str:
    return f"'{word}:{_zsh_text(summary)}'"


# --- fish -------------------------------------------------------------------------------


def fish(name: str, globals_: Sequence[Option], commands: Sequence[Completed]) -> str:
    """`complete` commands."""
    tops = list(dict.fromkeys(command.words[0] for command in commands))
    lines = [
        f"# fish completion for {name}; made by `{PROGRAM} completion fish`",
        f"complete -c {name} -f",
    ]
    for option in globals_:
        lines.append(f"complete -c {name} -n __fish_use_subcommand {_fish_option(option)}")
    for command in commands:
        first = command.words[0]
        if len(command.words) == 1:
            lines.append(
                f"complete -c {name} -n __fish_use_subcommand -a {first}"
                f" -d {_fish_text(command.summary)}"
            )
            here = f"'__fish_seen_subcommand_from {first}'"
        else:
            siblings = " ".join(_subs((first,), commands))
            before = (
                f"'__fish_seen_subcommand_from {first}; "
                f"and not __fish_seen_subcommand_from {siblings}'"
            )
            lines.append(
                f"complete -c {name} -n {before} -a {command.words[1]}"
                f" -d {_fish_text(command.summary)}"
            )
            here = (
                f"'__fish_seen_subcommand_from {first}; "
                f"and __fish_seen_subcommand_from {command.words[1]}'"
            )
        if command.choices and first in tops:
            lines.append(f"complete -c {name} -n {here} -a '{' '.join(command.choices)}'")
        if command.files:
            lines.append(f"complete -c {name} -n {here} -F")
        for option in command.options:
            lines.append(f"complete -c {name} -n {here} {_fish_option(option)}")
    return "\n".join([*lines, ""])


def _fish_option(option: Option) -> str:
    parts = [f"-l {option.name.removeprefix('--')}", f"-d {_fish_text(option.summary)}"]
    if option.takes_value:
        parts.append("-r")
    if option.files:
        parts.append("-F")
    if option.choices:
        parts.append(f"-a '{' '.join(option.choices)}'")
    return " ".join(parts)


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "").replace("'", "") + "'"
