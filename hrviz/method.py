"""A method is one function; its signature is the declaration. This file reads it.

`@method(...)` turns a generator of steps into a `Method`: parameters with ranges, units and help,
from which controls, command-line options, tables, validation, cache keys and tests all derive. The
shared aliases at the end (`OutputPixels`, `Bandwidth`, ...) keep the vocabulary of all methods one.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from hrviz.errors import HrvizError

if typing.TYPE_CHECKING:
    from hrviz.cost.declared import CostModel
    from hrviz.results import Step

FAMILIES = {
    "baselines": "Baselines",
    "downsampling": "Non-uniform downsampling",
    "zooming": "Selective zooming and skipping",
    "scanning": "Lightweight scanners",
    "compression": "Task-oriented compression",
    "transformers": "High-resolution transformers",
    "general": "General alternatives",
}

EXAMPLE = "scene:tissue?size=2048x2048&tumour=0.2"

Kind = Literal["number", "integer", "flag", "choice", "boxes", "strokes", "file"]


@dataclass(frozen=True)
class Control:
    """What `Annotated` carries: how a parameter may be set and what it means.

    Parameters
    ----------
    help : str
        One sentence that answers 'what happens if I move this up?'.
    minimum, maximum, step : float, optional
        Of numbers and integers (both ends allowed).
    unit : str
    title : str
        For people; default made from the parameter's name.
    log : bool
        A logarithmic slider serves better.
    basic : bool
        Shown at once; others stand behind 'more'.
    when : tuple of (str, tuple)
        Only of use while the named parameter has one of the values.
    kind : Kind, optional
        For values that their type does not tell: 'boxes', 'strokes', 'file'.
    zero : str
        What 0 stands for, where it is not an amount.
    """

    help: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    unit: str = ""
    title: str = ""
    log: bool = False
    basic: bool = True
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    kind: Kind | None = None
    zero: str = ""


@dataclass(frozen=True)
class Param:
    """One declared parameter of a method."""

    name: str
    kind: Kind
    default: Any
    control: Control
    choices: tuple[Any, ...] = ()

    @property
    def title(self) -> str:
        return self.control.title or self.name.replace("_", " ").capitalize()

    @property
    def allowed(self) -> str:
        """The allowed values in words, for help and error messages."""
        c, unit = self.control, f" {self.control.unit}" if self.control.unit else ""
        match self.kind:
            case "number":
                return f"{c.minimum:g} to {c.maximum:g}{unit}"
            case "integer":
                return f"a whole number, {c.minimum:.0f} to {c.maximum:.0f}{unit}"
            case "flag":
                return "true or false"
            case "choice":
                return ", ".join(map(str, self.choices))
            case "boxes":
                return "boxes as x,y,width,height in level-0 pixels, separated by ';'"
            case "strokes":
                return "lines as x,y x,y ... in level-0 pixels, separated by ';'"
            case "file":
                return "path of a picture or .npy file"

    def relevant(self, values: Mapping[str, Any]) -> bool:
        """Whether the parameter has an effect, given the others."""
        # a shared alias may be gated by a parameter that this method does not have
        return all(
            name not in values or values[name] in allowed for name, allowed in self.control.when
        )

    def check(self, value: Any) -> Any:
        """The value in its own type; text is parsed (command line, permalinks).

        Raises
        ------
        HrvizError
            Names the parameter, what was given and what is allowed.
        """
        try:
            checked = self._coerce(value)
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, HrvizError):
                raise
            raise HrvizError(
                f"{self.name}={_shown(value)} is not allowed: choose {self.allowed}"
            ) from None
        if self.kind in ("number", "integer"):
            c = self.control
            assert c.minimum is not None and c.maximum is not None
            if not c.minimum <= checked <= c.maximum:
                raise HrvizError(
                    f"{self.name}={checked:.10g} is out of range: choose {self.allowed}"
                )
        return checked

    def _coerce(self, value: Any) -> Any:
        match self.kind:
            case "number":
                if isinstance(value, bool) or math.isnan(number := float(value)):
                    raise ValueError
                return number
            case "integer":
                if isinstance(value, bool) or float(value) != int(float(value)):
                    raise ValueError
                return int(float(value))
            case "flag":
                if isinstance(value, str):
                    return {"true": True, "1": True, "yes": True, "false": False, "0": False,
                            "no": False}[value.lower()] if value.lower() in (
                        "true", "1", "yes", "false", "0", "no") else _fail()  # fmt: skip
                return value if isinstance(value, bool) else _fail()
            case "choice":
                found = next((c for c in self.choices if str(c) == str(value)), None)
                if found is None:
                    near = difflib.get_close_matches(str(value), map(str, self.choices), 1)
                    hint = f" (did you mean {near[0]}?)" if near else ""
                    raise HrvizError(
                        f"{self.name}={_shown(value)} is not allowed{hint}: choose one of {self.allowed}"
                    )
                return found
            case "boxes":
                return _boxes(value)
            case "strokes":
                return _strokes(value)
            case "file":
                if value in (None, ""):
                    return None
                if not Path(value).expanduser().is_file():
                    raise HrvizError(
                        f"{self.name}={str(value)!r} is not a file: give a {self.allowed}"
                    )
                return str(value)


def _shown(value: Any) -> str:
    """What was given, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fail() -> Any:
    raise ValueError


def _boxes(value: Any) -> tuple[tuple[float, float, float, float], ...]:
    """Boxes as (y0, x0, y1, x1) from text 'x,y,w,h;...' or from a sequence of such 4-tuples."""
    if value is None:
        return ()
    if isinstance(value, str):
        from hrviz.geometry import Box

        value = [Box.parse(part) for part in value.split(";") if part.strip()]
    out: Any = tuple(tuple(float(v) for v in box) for box in value)
    if not all(
        len(b) == 4 and all(map(math.isfinite, b)) and b[2] > b[0] and b[3] > b[1] for b in out
    ):
        raise ValueError
    return out


def _strokes(value: Any) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Strokes as (y, x) points from text 'x,y x,y;...' or from a sequence of point lists."""
    if value is None:
        return ()
    if isinstance(value, str):
        lines = [part.split() for part in value.split(";") if part.strip()]
        pairs = [[point.split(",") for point in line] for line in lines]
        out = tuple(tuple((float(y), float(x)) for x, y in line) for line in pairs)
    else:
        out = tuple(tuple((float(y), float(x)) for y, x in line) for line in value)
    if not all(line and all(math.isfinite(v) for p in line for v in p) for line in out):
        raise ValueError
    return out


@dataclass(frozen=True, eq=False)
class Method:
    """A registered method: callable as declared, with everything front ends need to show it.

    Attributes
    ----------
    name : str
        The function's name with dashes.
    network : callable
        Parameters to whether the run uses a network (then it runs in a worker process).
    idea, equation, use_when, avoid_when : str
        For the method's page: two sentences, LaTeX, survey section V.
    example : str
        Address of an image that shows the method at its best.
    cost : CostModel
        Which networks it calls on what, for an image of any size; every method has one.
    """

    name: str
    function: Callable[..., Iterator[Step]]
    title: str
    family: str
    section: str
    paper: str
    idea: str
    params: tuple[Param, ...]
    aliases: tuple[str, ...] = ()
    equation: str = ""
    use_when: str = ""
    avoid_when: str = ""
    network: Callable[[Mapping[str, Any]], bool] = lambda params: False
    example: str = EXAMPLE
    cost: CostModel | None = None

    def __call__(self, view: Any, **params: Any) -> Iterator[Step]:
        return self.function(view, **self.bind(params))

    @property
    def doc(self) -> str:
        """The method's module docstring: idea, equations, paper, what stands in for what."""
        return inspect.cleandoc(sys.modules[self.function.__module__].__doc__ or "")

    @property
    def defaults(self) -> dict[str, Any]:
        return {p.name: p.default for p in self.params}

    def bind(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults overridden by `params`, each checked; unknown names are refused by name."""
        known = {p.name: p for p in self.params}
        for name in params:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
                raise HrvizError(f"{self.name} has no parameter {name!r}: {hint}")
        return {
            name: p.check(params[name]) if name in params else p.default
            for name, p in known.items()
        }

    def describe(self) -> dict[str, Any]:
        """JSON-able facts: what `hrviz methods --json` prints."""
        return {
            "name": self.name, "title": self.title, "family": self.family, "section": self.section,
            "paper": self.paper, "aliases": list(self.aliases), "idea": self.idea, "example": self.example,
            "parameters": [
                {"name": p.name, "kind": p.kind, "default": p.default, "title": p.title,
                 "minimum": p.control.minimum, "maximum": p.control.maximum,
                 "step": p.control.step, "choices": list(p.choices), "unit": p.control.unit,
                 "help": p.control.help}
                for p in self.params
            ],
        }  # fmt: skip


_REGISTERED: dict[str, Method] = {}


def method(
    *,
    family: str,
    section: str,
    paper: str,
    title: str = "",
    aliases: tuple[str, ...] = (),
    equation: str = "",
    use_when: str = "",
    avoid_when: str = "",
    network: Callable[[Mapping[str, Any]], bool] | bool = False,
    example: str = EXAMPLE,
    cost: CostModel | None = None,
) -> Callable[[Callable[..., Iterator[Step]]], Method]:
    """Declare a method. The function's keyword-only parameters, `Annotated` with a `Control` and
    with defaults, become its parameters; the first paragraph of the module docstring its idea.

    Parameters
    ----------
    family : str
        A key of `FAMILIES`, the folder the file lies in.
    section : str
        Section of the survey, e.g. 'III-A'.
    paper : str
        Authors, venue, year.
    network : bool or callable
        Whether a run uses a network, or a function of the parameters that tells.
    example : str
        Address of an image that shows the method at its best; contract tests run on it with all
        its networks.
    cost : CostModel
        What it costs on an image of any size, declared in its own file (`hrviz.cost.declared`).
    """
    if family not in FAMILIES:
        raise TypeError(f"family {family!r} is none of {tuple(FAMILIES)}")

    def register(function: Callable[..., Iterator[Step]]) -> Method:
        name = function.__name__.replace("_", "-")
        doc = inspect.cleandoc(sys.modules[function.__module__].__doc__ or "")
        heading, _, rest = doc.partition("\n\n")
        declared = Method(
            name=name,
            function=function,
            title=title or heading.partition(":")[0].strip(),
            family=family,
            section=section,
            paper=paper,
            idea=" ".join(rest.split("\n\n")[0].split()),
            params=parameters_of(function, function.__name__),
            aliases=aliases,
            equation=equation,
            use_when=use_when,
            avoid_when=avoid_when,
            network=network if callable(network) else (lambda params: bool(network)),
            example=example,
            cost=cost,
        )
        for other in (name, *aliases):
            if other in _REGISTERED or any(other in m.aliases for m in _REGISTERED.values()):
                raise TypeError(f"two methods are called {other!r}")
        _REGISTERED[name] = declared
        return declared

    return register


def parameters_of(function: Callable[..., Any], owner: str) -> tuple[Param, ...]:
    """The declared keyword-only parameters of a method, or of a scene's `__init__`."""
    hints = typing.get_type_hints(function, include_extras=True)
    out = []
    for p in inspect.signature(function).parameters.values():
        if p.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        hint = hints[p.name]
        control = next(
            (m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Control)), None
        )
        if control is None or p.default is p.empty:
            raise TypeError(
                f"{owner}: parameter {p.name} needs Annotated[type, Control(...)] and a default"
            )
        base = typing.get_args(hint)[0]
        choices: tuple[Any, ...] = ()
        kind: Kind
        if control.kind:
            kind = control.kind
        elif typing.get_origin(base) is Literal:
            kind, choices = "choice", typing.get_args(base)
        else:
            kind = typing.cast(Kind, {bool: "flag", int: "integer", float: "number"}[base])
        if kind in ("number", "integer") and (control.minimum is None or control.maximum is None):
            raise TypeError(f"{owner}: parameter {p.name} needs a minimum and a maximum")
        param = Param(p.name, kind, p.default, control, choices)
        if kind != "file":
            param.check(p.default)
        out.append(param)
    return tuple(out)


class _Methods(Mapping[str, Method]):
    """All methods by name, in the order of families; files are imported on first use."""

    _loaded = False

    def _all(self) -> dict[str, Method]:
        if not self._loaded:
            import hrviz.methods

            for module in pkgutil.walk_packages(hrviz.methods.__path__, "hrviz.methods."):
                if not module.ispkg:
                    importlib.import_module(module.name)
            order = list(FAMILIES)
            found = sorted(
                _REGISTERED.values(), key=lambda m: (order.index(m.family), m.section, m.name)
            )
            self._found = {m.name: m for m in found}
            self._loaded = True  # last: another thread may be looking
        return self._found

    def __getitem__(self, name: str) -> Method:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def find(self, name: str | Method) -> Method:
        """By name, alias or function name; an unknown one is refused with the nearest names."""
        if isinstance(name, Method):
            return name
        wanted = str(name).strip().lower().replace("_", "-").replace(" ", "-")
        for found in self._all().values():
            if wanted == found.name or wanted in found.aliases:
                return found
        names = [n for m in self._all().values() for n in (m.name, *m.aliases)]
        near = difflib.get_close_matches(wanted, names, 3, 0.4)
        hint = f"nearest are {', '.join(near)}" if near else f"there are {', '.join(self)}"
        raise HrvizError(f"there is no method {str(name)!r}: {hint}")


METHODS = _Methods()

# --------------------------------------------------------------------------- shared vocabulary
OutputPixels = Annotated[
    int,
    Control(
        "Longer side of what the network receives. Up: more detail, more memory (it grows with the square).",
        64, 2048, 32, unit="px", title="Output size",
    ),
]  # fmt: skip
Pixels = Annotated[int, Control("Side in pixels.", 1, 8192, 1, unit="px")]
Fraction = Annotated[float, Control("A share between 0 and 1.", 0.0, 1.0, 0.01)]
Temperature = Annotated[
    float, Control("Up: flatter, more even choices.", 0.01, 10.0, 0.01, log=True)
]
Seed = Annotated[int, Control("Another seed gives another draw.", 0, 2**31 - 1, 1, basic=False)]
Nodes = Annotated[
    int,
    Control(
        "Nodes of the grid along the longer side. Up: finer warps, more work.",
        11,
        63,
        2,
        unit="nodes",
    ),
]
Bandwidth = Annotated[
    float,
    Control(
        "Full width at half maximum of the attraction kernel. Up: smoother grid, reaching farther.",
        1.0, 20.0, 0.5, unit="nodes",
    ),
]  # fmt: skip
Padding = Annotated[
    Literal["none", "replicate", "reflect"],
    Control(
        "What lies beyond the border. Reflect keeps the whole region in the output; replicate crops a "
        "little; none pulls the border inwards.",
        basic=False,
    ),
]
Sampling = Annotated[
    Literal["fair", "as published"],
    Control(
        "Fair averages over each output pixel's footprint through the pyramid; as published takes four "
        "points of full resolution and aliases.",
        basic=False,
    ),
]
_DRAWN = (("saliency", ("drawn",)),)
DrawnBoxes = Annotated[
    tuple[tuple[float, float, float, float], ...],
    Control("Boxes drawn on the image.", kind="boxes", title="Drawn boxes", when=_DRAWN),
]
DrawnStrokes = Annotated[
    tuple[tuple[tuple[float, float], ...], ...],
    Control("Strokes drawn on the image.", kind="strokes", title="Drawn strokes", when=_DRAWN),
]
UploadedMap = Annotated[
    str | None,
    Control(
        "A grey picture or .npy array, stretched over the region.",
        kind="file",
        title="Map file",
        when=(("saliency", ("file",)),),
    ),
]
Task = Annotated[
    Literal["automatic", "tumour segmentation", "vessel segmentation", "none"],
    Control(
        "The network that receives the result, so that its effect on the task can be measured; "
        "automatic takes the one that the image is for.",
        title="Task network",
    ),
]
