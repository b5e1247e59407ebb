"""A form as a browser without scripts fills it in and sends it (HTML Standard, section 4.10.21)."""

import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, NoReturn, TypeAlias

from crawler import charset
from crawler.errors import SelectorError, escaped
from crawler.formdata import MULTIPART, PLAIN_TEXT, URLENCODED, Entry
from crawler.html import Node

Value: TypeAlias = str | float | bool | Collection[str | float] | None

_SUBMITTERS = {"submit", "image"}
_NEVER_SENT = {"button", "reset"}
_CHOICES = {"checkbox", "radio", "select"}
_ONE_LINE = {"email", "password", "search", "tel", "text", "url"}
_OTHER_TYPES = {"color", "date", "datetime-local", "file", "hidden", "month", "number", "range", "time", "week"}
_INPUT_TYPES = _SUBMITTERS | _NEVER_SENT | {"checkbox", "radio"} | _ONE_LINE | _OTHER_TYPES
_CONTROLS = "button, input, select, textarea"
_OF_TABLES = {"table", "tbody", "thead", "tfoot", "tr"}


class Control(NamedTuple):
    """Something to fill in or to press; ``kind`` is an input's or a button's type, or else its tag."""

    node: Node
    kind: str
    name: str
    is_disabled: bool

    @property
    def value(self) -> str:
        """Its value attribute, which for boxes is "on" where there is none."""
        return self.node.attr("value", default="on" if self.kind in _CHOICES else "")


class Submission(NamedTuple):
    """What a form sends, and where to: ``action`` as it is written, empty for the page itself."""

    method: str
    action: str
    enctype: str
    entries: list[Entry]
    codec: str


class Form:
    """A form of a page: the one that `selector` matches, or whose part it matches; without one, the only one there is.

    `codec` is the page's encoding. Raises `SelectorError` that names the page, the form, and what is not as expected.
    """

    def __init__(self, root: Node, selector: str | None, codec: str) -> None:
        self._page = root.page
        self._named = "the form" if selector is None else f"the form {selector!r}"
        self.node = self._found(root, selector)
        self.controls = list(_owned(self.node, root))
        self._codec = _codec(self.node, codec)

    def _found(self, root: Node, selector: str | None) -> Node:
        found = root.css("form" if selector is None else selector)
        if selector is None and len(found) > 1:
            listed = ", ".join(_described(form) for form in list(found)[:10])
            self._refuse(f"there are {len(found)} forms: say which by a selector ({listed})")
        form = next((node for node in _line(found[0]) if node.tag == "form"), None) if found else None
        if form is None:
            self._refuse("there is no such form")
        return form

    def submission(self, given: Mapping[str, Value], submit: str | None) -> Submission:
        """What it sends with these fields, by the button of that name, or else by its first one."""
        chosen: dict[Node, list[str]] = {}
        pressed: Control | None = None
        for name, value in given.items():
            same = [control for control in self.controls if control.name == name and control.kind not in _NEVER_SENT]
            if not same:
                self._missing("field", name, [control.name for control in self.controls])
            buttons = [control for control in same if control.kind in _SUBMITTERS]
            if len(buttons) == len(same) and value is not None:
                pressed = self._button(buttons, value)
            else:
                chosen |= self._filled(name, [one for one in same if one not in buttons], value)
        if pressed is None:
            pressed = self._pressed(submit)
        elif submit not in {None, pressed.name}:
            self._refuse(f"it is sent by one button, {submit!r} or {pressed.name!r}")
        entries = [entry for entry in self._entries(pressed, chosen) if given.get(entry.name, "") is not None]
        method = self._says("method", pressed).lower()
        if method == "dialog":
            self._refuse("it belongs to a dialog, and sends nothing")
        enctype = self._says("enctype", pressed).lower()
        enctype = enctype if enctype in {MULTIPART, PLAIN_TEXT} else URLENCODED
        action = self._says("action", pressed).strip()
        return Submission("POST" if method == "post" else "GET", action, enctype, entries, self._codec)

    def refuse_unclear(self, options: Iterable[str]) -> None:
        """Raise for an option of the request that a field of the form is called like."""
        for name in sorted({control.name for control in self.controls}.intersection(options)):
            self._refuse(f"it has a field {name!r}, which is an option too: give the field's value in a dict")

    def _says(self, name: str, pressed: Control | None) -> str:
        own = None if pressed is None else pressed.node.attr(f"form{name}", default=None)
        return self.node.attr(name, default="") if own is None else own

    # -- what was given

    def _button(self, buttons: Sequence[Control], value: Value) -> Control:
        values = [button.value for button in buttons]
        if value is not True and value not in values:
            self._missing(f"button {buttons[0].name!r} with the value", str(value), values)
        return buttons[0 if value is True else values.index(str(value))]

    def _pressed(self, submit: str | None) -> Control | None:
        buttons = [control for control in self.controls if control.kind in _SUBMITTERS]
        if submit is None:
            return buttons[0] if buttons and not buttons[0].is_disabled else None
        named = next((button for button in buttons if button.name == submit), None)
        return named or self._missing("submit button", submit, [button.name for button in buttons])

    def _filled(self, name: str, same: Sequence[Control], value: Value) -> dict[Node, list[str]]:
        """The values of the controls of one name."""
        choices = [control for control in same if control.kind in _CHOICES]
        if value is None:
            return {control.node: [] for control in same}
        if choices:
            return self._picked(name, choices, value)
        if any(control.kind == "file" for control in same):
            self._refuse(f"files cannot be given, and {name!r} takes one")
        values = self._values(name, value)
        if len(values) > len(same) or (len(same) > 1 and isinstance(value, str | float | int)):
            self._refuse(f"{name!r} is there {len(same)} times: give it a list of at most so many values")
        return {control.node: [_sanitized(control, text)] for control, text in zip(same, values, strict=False)}

    def _picked(self, name: str, choices: Sequence[Control], value: Value) -> dict[Node, list[str]]:
        """Boxes and options by their values; True ticks the only box, False takes every tick away."""
        offered = {control.node: _offered(control) for control in choices}
        if value is True:
            if len(choices) > 1 or choices[0].kind == "select":
                self._refuse(f"{name!r} is a choice: give a value, or a list of them")
            return dict(offered)
        wanted = [] if value is False else self._values(name, value)
        for text in wanted:
            if not any(text in values for values in offered.values()):
                self._missing(f"{name!r} with the value", text, [one for values in offered.values() for one in values])
        return {node: [text for text in values if text in wanted] for node, values in offered.items()}

    def _values(self, name: str, value: object) -> list[str]:
        values = value if isinstance(value, list | tuple | set | frozenset) else [value]
        for one in values:
            if isinstance(one, bool) or not isinstance(one, str | int | float):
                self._refuse(f"{name!r} takes text or a number, or a list of these, not {one!r}")
        return [str(one) for one in values]

    # -- what is sent

    def _entries(self, pressed: Control | None, chosen: Mapping[Node, list[str]]) -> Iterator[Entry]:
        """The entry list, in tree order; a disabled field is in it if its value was given."""
        ticked = {control.name: control for control in self.controls if _is_ticked_radio(control)}
        for control in self.controls:
            if control.kind in _NEVER_SENT or (control.kind in _SUBMITTERS and control is not pressed):
                continue
            given = chosen.get(control.node)
            if control.is_disabled and given is None and control is not pressed:
                continue
            if control.kind == "image":
                prefix = f"{control.name}." if control.name else ""
                yield from (Entry(f"{prefix}x", "0"), Entry(f"{prefix}y", "0"))
            elif control.kind == "radio" and given is None and ticked.get(control.name) is not control:
                continue
            elif control.name:
                values = self._initial(control) if given is None else given
                yield from (Entry(control.name, value, control.kind == "file") for value in values)
                direction = control.node.attr("dirname", default="")
                if direction and (control.kind in _ONE_LINE or control.kind in {"hidden", "submit", "textarea"}):
                    yield Entry(direction, "ltr")

    def _initial(self, control: Control) -> list[str]:
        node = control.node
        if control.kind == "select":
            return _selected(node)
        if control.kind in _CHOICES:
            return [control.value] if node.attr("checked", default=None) is not None else []
        if control.kind == "textarea":
            return ["".join(node.css("::text").getall())]
        if control.kind == "hidden" and control.name.lower() == "_charset_":
            return [charset.name_of(self._codec)]
        return ["" if control.kind == "file" else _sanitized(control, control.value)]

    def _missing(self, what: str, name: str, known: Sequence[str]) -> NoReturn:
        names = [one for one in dict.fromkeys(known) if one]
        near = difflib.get_close_matches(name, names, n=1)
        listed = f"; there are {', '.join(map(repr, names[:20]))}" if names else ""
        self._refuse(f"there is no {what} {name!r}{f'; did you mean {near[0]!r}?' if near else listed}")

    def _refuse(self, complaint: str) -> NoReturn:
        where = f" on {escaped(self._page, 2048)}" if self._page else ""
        raise SelectorError(f"{escaped(self._named)}{where}: {escaped(complaint)}")


def _owned(form: Node, root: Node) -> Iterator[Control]:
    """The controls whose form owner it is, in tree order (section 4.10.17.3).

    Where a table may hold no form, the parser leaves it empty and has it own what follows in the table.
    """
    own_id = form.attr("id", default="")
    empty, its_table = None, None
    for node in root.css(f"form, {_CONTROLS}"):
        line = list(_line(node))
        if node.tag == "form":
            is_empty = len(line) > 1 and line[1].tag in _OF_TABLES
            empty = node if is_empty else None
            its_table = next((above for above in line if above.tag == "table"), None) if is_empty else None
            continue
        named = node.attr("form", default=None)
        owner = next((above for above in line if above.tag == "form"), empty if its_table in line else None)
        is_owned = owner == form if named is None else bool(named) and named == own_id
        if is_owned and not any(above.tag in {"datalist", "template"} for above in line):
            yield Control(node, _kind(node), node.attr("name", default=""), _is_disabled(line))


def _line(node: Node) -> Iterator[Node]:
    """The element and all that it lies in, from the inside."""
    above: Node | None = node
    while above is not None:
        yield above
        above = above.parent


def _kind(node: Node) -> str:
    kind = node.attr("type", default="").strip().lower()
    if node.tag == "button":
        return kind if kind in _NEVER_SENT else "submit"
    if node.tag == "input":
        return kind if kind in _INPUT_TYPES else "text"
    return node.tag


def _is_disabled(line: Sequence[Node]) -> bool:
    """Section 4.10.19.5: by its own attribute, or by a fieldset's, but in that one's first legend."""
    if line[0].attr("disabled", default=None) is not None:
        return True
    for below, above in pairwise(line):
        if above.tag == "fieldset" and above.attr("disabled", default=None) is not None:
            legends = (node for node in above.css("legend") if node.parent == above)
            if below.tag != "legend" or next(legends) != below:
                return True
    return False


def _is_ticked_radio(control: Control) -> bool:
    return control.kind == "radio" and control.node.attr("checked", default=None) is not None


def _offered(control: Control) -> list[str]:
    return [_option_value(one) for one in control.node.css("option")] if control.kind == "select" else [control.value]


def _selected(select: Node) -> list[str]:
    """Section 4.10.7: of a list that shows one option, the last selected, or else the first that is not disabled."""
    options = list(select.css("option"))
    selected = [option for option in options if option.attr("selected", default=None) is not None]
    usable = [option for option in options if not _is_disabled_option(option)]
    if select.attr("multiple", default=None) is None:
        shown = select.attr("size", default="1").strip()
        selected = selected[-1:] or (usable[:1] if not shown.isdigit() or int(shown) <= 1 else [])
    return [_option_value(option) for option in selected if not _is_disabled_option(option)]


def _is_disabled_option(option: Node) -> bool:
    group = option.parent
    is_off = group is not None and group.tag == "optgroup" and group.attr("disabled", default=None) is not None
    return is_off or option.attr("disabled", default=None) is not None


def _option_value(option: Node) -> str:
    value = option.attr("value", default=None)
    return " ".join("".join(option.css("::text").getall()).split()) if value is None else value


def _sanitized(control: Control, value: str) -> str:
    """What an input makes of its value (section 4.10.5.1), as far as it changes what is sent."""
    if control.kind in _ONE_LINE:
        value = value.replace("\r", "").replace("\n", "")
        return value.strip() if control.kind in {"email", "url"} else value
    if control.kind == "color" and not value:
        return "#000000"
    if control.kind == "range" and not _is_number(value):
        least, most = (_number(control.node, "min", 0.0), _number(control.node, "max", 100.0))
        return f"{least + max(0.0, most - least) / 2:g}"
    return value


def _number(node: Node, name: str, default: float) -> float:
    text = node.attr(name, default="")
    return float(text) if _is_number(text) else default


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _codec(form: Node, page: str) -> str:
    """Section 4.10.21.6, "picking an encoding for the form"."""
    labels = form.attr("accept-charset", default="").split()
    codec = next((found for found in map(charset.codec_for, labels) if found), page)
    return "utf-8" if codec.startswith("utf_16") or codec == "ascii" else codec


def _described(form: Node) -> str:
    for attribute in ("id", "name", "action"):
        if value := form.attr(attribute, default=""):
            return f"#{value}" if attribute == "id" else f"form[{attribute}={value!r}]"
    return "form"
