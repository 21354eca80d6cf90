"""What a function does beside computing: found in its bytecode, before anything runs."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from mqd.strategy.bytecode import place
from mqd.strategy.reached import codes

CHANGING: Final = frozenset(
    {
        "append", "extend", "insert", "update", "setdefault", "add", "pop", "popitem", "clear",
        "remove", "discard", "sort", "reverse", "appendleft", "extendleft", "popleft", "fill",
        "put", "itemset", "partition", "resize", "setflags", "setfield",
    }
)  # fmt: skip
"""Methods that change the container they are called on."""
OUTSIDE: Final = re.compile(
    r"(?P<clock>^time\.(time|monotonic|perf_counter|process_time|thread_time|localtime|gmtime"
    r"|ctime|sleep)(_ns)?$|(^|\.)(datetime|date|Timestamp)\.(now|utcnow|today)$)"
    r"|(?P<chance>^random\.(?!Random$)|^(secrets|uuid)\.|^os\.urandom$"
    r"|^numpy\.random\.(?!(default_rng|Generator|RandomState|SeedSequence|PCG64|Philox|SFC64)$))"
    r"|(?P<environment>^os\.(environ|getenv|getpid|cpu_count|uname|getlogin)"
    r"|^(platform|socket)\.|^sys\.argv)"
    r"|(?P<files>^(builtins|io|os)\.open$|^builtins\.input$|^os\.(listdir|walk|stat|scandir)$"
    r"|^(os\.path|posixpath)\.(exists|isfile|isdir|getsize|getmtime)$"
    r"|(^|\.)(read_(csv|parquet|pickle|feather|json|excel|sql|hdf|html|table))$"
    r"|^numpy\.(load|loadtxt|genfromtxt|fromfile|memmap|save|savetxt)$"
    r"|^(sqlite3|shutil|tempfile|pickle|shelve)\.)"
    r"|(?P<network>^(requests|urllib|http|httpx|aiohttp|yfinance|websockets|ftplib)(\.|$))"
    r"|(?P<process>^(subprocess|multiprocessing|threading|ctypes)\.)"
)
"""Real dotted names that read or change what is no argument, by what they reach."""
_ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_SKIPPED: Final = frozenset({"EXTENDED_ARG", "NOP", "CACHE", "RESUME", "PRECALL", "PUSH_NULL"})
_FILE_METHODS: Final = frozenset({"read_text", "read_bytes", "write_text", "write_bytes"})
_UNSEEDED: Final = ("numpy.random.default_rng", "numpy.random.RandomState", "random.Random")


class Effect(NamedTuple):
    """One effect: ``kind`` as a word, ``what`` in a few, where in the source."""

    kind: str
    what: str
    where: str


class Root(NamedTuple):
    """Where an expression begins: ``scope`` is "global", "free", "argument" or "local"."""

    scope: str
    name: str
    chain: tuple[str, ...]


class _Step(NamedTuple):
    op: str
    value: Any
    effect: int
    line: int


def effects(function: FunctionType, guarded: Sequence[str] = ()) -> Iterator[Effect]:
    """Yield writes to anything but locals, and reads of clock, chance, files and the like.

    ``guarded``: arguments of the function that it must not write to. Nested functions are
    followed; functions that it calls are not (see ``functions_of``).
    """
    for code in codes(function.__code__):
        scan = _Scan(function, code, guarded if code is function.__code__ else ())
        yield from scan.writes()
        yield from scan.reads()


def depends_on_hashes(function: FunctionType) -> bool:
    """True when the function makes a set or asks for a hash: its order may differ by process."""
    for code in codes(function.__code__):
        for step in dis.get_instructions(code):
            if step.opname in ("BUILD_SET", "SET_ADD", "SET_UPDATE"):
                return True
            if step.opname == "LOAD_GLOBAL" and step.argval in ("set", "frozenset", "hash", "id"):
                return True
    return False


class _Scan:
    """One code object, its steps, and what its local names stand for."""

    def __init__(self, function: FunctionType, code: CodeType, guarded: Sequence[str]) -> None:
        self._function, self._code, self._guarded = function, code, guarded
        self._steps = _steps(code)
        self._imports: dict[str, str] = {}
        self._aliases: dict[str, Root] = {}
        self._find_aliases()

    def _find_aliases(self) -> None:
        module = ""
        for at, step in enumerate(self._steps):
            if step.op == "IMPORT_NAME":
                module = str(step.value)
            elif step.op in ("STORE_FAST", "STORE_DEREF") and at:
                before = self._steps[at - 1]
                if before.op == "IMPORT_NAME":
                    self._imports[step.value] = module.split(".")[0]
                elif before.op == "IMPORT_FROM":
                    self._imports[step.value] = f"{module}.{before.value}"
                else:
                    self._alias(step.value, at)

    def _alias(self, name: str, at: int) -> None:
        """Note what ``name`` stands for; a name that is assigned anew is taken for a local."""
        root = self._root(at - 1)
        if name in self._aliases or root.scope == "local":
            root = Root("local", "", ())
        self._aliases[name] = root

    def _effect(self, kind: str, what: str, line: int) -> Effect:
        name = self._function.__qualname__
        return Effect(kind, f"{name} {what}", place(self._code, line))

    # --- writes ------------------------------------------------------------------------------

    def writes(self) -> Iterator[Effect]:
        """Yield each write to a global, a closure variable or a guarded argument."""
        own_cells = self._function.__code__.co_freevars
        for at, step in enumerate(self._steps):
            if step.op in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                yield self._effect("write", f"assigns the global {step.value}", step.line)
            elif step.op in ("STORE_DEREF", "DELETE_DEREF") and step.value in own_cells:
                yield self._effect("write", f"assigns the outer variable {step.value}", step.line)
            elif step.op in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_ATTR", "DELETE_ATTR"):
                yield from self._changed(self._target(at), step.line, "writes to")
            elif step.op in _ATTRIBUTES and step.value in CHANGING and self._is_called(at):
                verb = f"calls {step.value}() on"
                yield from self._changed(self._root(at - 1), step.line, verb)

    def _changed(self, root: Root, line: int, verb: str) -> Iterator[Effect]:
        what = ".".join((root.name, *root.chain))
        if root.scope in ("global", "free") and not self._is_module_call(root):
            where = "the global" if root.scope == "global" else "the outer variable"
            yield self._effect("write", f"{verb} {where} {what}", line)
        elif root.scope == "argument" and root.name in self._guarded:
            yield self._effect("write", f"{verb} {what}", line)

    def _is_module_call(self, root: Root) -> bool:
        """True for ``np.put(x, ...)``: the method is a function of a module or a class."""
        value = self._function.__globals__.get(root.name) if root.scope == "global" else None
        for name in root.chain:
            value = getattr(value, name, None)
        return isinstance(value, ModuleType)

    def _is_called(self, at: int) -> bool:
        return self._steps[at].op == "LOAD_METHOD" or (
            at + 1 < len(self._steps) and self._steps[at + 1].op.startswith("CALL")
        )

    def _target(self, at: int) -> Root:
        """Return the root of what a store or delete at step ``at`` changes."""
        end = at - 1
        if end >= 0 and self._steps[end].op == "SWAP":
            return self._augmented(end)
        if "SUBSCR" in self._steps[at].op:
            end = self._start(end) - 1
        return self._root(end)

    def _augmented(self, end: int) -> Root:
        """Return the root of ``x[k] += v`` or ``x.a += v``: what stands before the COPYs."""
        while end >= 0 and self._steps[end].op != "COPY":
            end -= 1
        if end > 0 and self._steps[end - 1].op == "COPY":
            return self._root(self._start(end - 2) - 1)
        return self._root(end - 1)

    def _start(self, end: int) -> int:
        """Return the first step of the expression that ends at ``end``."""
        depth = 0
        for at in range(end, -1, -1):
            depth += self._steps[at].effect
            if depth >= 1:
                return at
        return 0

    def _root(self, end: int) -> Root:
        """Return where the expression that ends at ``end`` begins, and the attributes read."""
        chain: list[str] = []
        while end >= 0:
            step = self._steps[end]
            if step.op in _ATTRIBUTES:
                chain.insert(0, str(step.value))
                end -= 1
            elif step.op == "BINARY_SUBSCR":
                end = self._start(end - 1) - 1
            else:
                return self._named(step, tuple(chain))
        return Root("local", "", ())

    def _named(self, step: _Step, chain: tuple[str, ...]) -> Root:
        name = str(step.value)
        if step.op in ("LOAD_GLOBAL", "LOAD_NAME"):
            return Root("global", name, chain)
        if step.op in ("LOAD_DEREF", "LOAD_CLASSDEREF"):
            free = name in self._function.__code__.co_freevars
            return Root("free" if free else "local", name, chain)
        if step.op == "LOAD_FAST":
            if name in self._aliases:
                alias = self._aliases[name]
                return alias._replace(chain=(*alias.chain, *chain))
            arguments = self._code.co_varnames[: self._code.co_argcount]
            return Root("argument" if name in arguments else "local", name, chain)
        return Root("local", "", ())

    # --- reads of the world ------------------------------------------------------------------

    def reads(self) -> Iterator[Effect]:
        """Yield each use of a clock, chance, a file, the network or the environment."""
        for at, step in enumerate(self._steps):
            if step.op == "IMPORT_NAME":
                yield from self._used(str(step.value), step.line)
            if step.op in _ATTRIBUTES:
                if step.value in _FILE_METHODS:
                    yield self._effect("files", f"uses {step.value}()", step.line)
                continue
            if not step.op.startswith("LOAD_"):
                continue
            chain = []
            end = at + 1
            while end < len(self._steps) and self._steps[end].op in _ATTRIBUTES:
                chain.append(str(self._steps[end].value))
                end += 1
            name = self._real_name(step, chain)
            if not name:
                continue
            following = self._steps[end] if end < len(self._steps) else None
            bare = following is not None and following.op == "CALL" and following.value == 0
            if name in _UNSEEDED and bare:
                yield self._effect("chance", f"draws from {name}() without a seed", step.line)
            yield from self._used(name, step.line)

    def _used(self, name: str, line: int) -> Iterator[Effect]:
        parts = name.split(".")
        for n in range(1, len(parts) + 1):
            match = OUTSIDE.search(".".join(parts[:n]))
            if match is not None and match.lastgroup is not None:
                kind = next(key for key, text in match.groupdict().items() if text is not None)
                yield self._effect(kind, f"uses {name}", line)
                return

    def _real_name(self, step: _Step, chain: list[str]) -> str:
        """Return the dotted name by which the library knows what is loaded, "" for locals."""
        name = str(step.value)
        if step.op in ("LOAD_FAST", "LOAD_DEREF") and name in self._imports:
            return ".".join((self._imports[name], *chain))
        if step.op in ("LOAD_GLOBAL", "LOAD_NAME"):
            scope = self._function.__globals__
            if name not in scope:
                return f"builtins.{name}"
            return _dotted(scope[name], chain)
        return ""


def _dotted(value: object, chain: list[str]) -> str:
    """Return the real name of ``value.chain``, whatever it is called here."""
    for place_, attribute in enumerate(chain):
        if not isinstance(value, ModuleType):
            return ".".join((_own_name(value), *chain[place_:]))
        if not hasattr(value, attribute):
            return ".".join((value.__name__, *chain[place_:]))
        value = getattr(value, attribute)
    return _own_name(value)


def _own_name(value: object) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    owner = type(getattr(value, "__self__", None))
    if owner.__module__ in ("random", "numpy.random.mtrand"):
        return f"{owner.__module__.removesuffix('.mtrand')}.{getattr(value, '__name__', '')}"
    if type(value).__module__ == "os" and type(value).__name__ == "_Environ":
        return "os.environ"
    name = getattr(value, "__qualname__", "")
    module = getattr(value, "__module__", "") or ""
    return f"{module}.{name}" if name else type(value).__qualname__


def _steps(code: CodeType) -> list[_Step]:
    found, line = [], code.co_firstlineno
    for one in dis.get_instructions(code):
        if one.positions and one.positions.lineno:
            line = one.positions.lineno
        if one.opname in _SKIPPED:
            continue
        found.append(_Step(one.opname, one.argval, _effect_of(one), line))
    return found


def _effect_of(one: dis.Instruction) -> int:
    """Return how many values the step leaves; calls are counted without their NULL."""
    if one.opname == "CALL":
        return -int(one.arg or 0)
    if one.opname == "LOAD_METHOD":
        return 0
    if one.opname == "LOAD_GLOBAL":
        return 1
    return dis.stack_effect(one.opcode, one.arg, jump=False)
