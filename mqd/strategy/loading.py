"""Names to strategies: library names, ``module:Class`` and ``path.py:Class``; texts to values."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from mqd.errors import StrategyError, UnknownParameter, UnknownStrategy
from mqd.strategy.library import NAMES
from mqd.strategy.parameters import ParameterValue
from mqd.strategy.strategy import Strategy


def resolve(name: str) -> type[Strategy]:
    """Return the strategy class that ``name`` means.

    ``sma_cross`` (library), ``package.module:Class`` (importable), or ``folder/file.py:Class``
    (read from the file; its folder is searched first for the file's own imports). Raises
    ``UnknownStrategy`` with the nearest name, ``StrategyError`` when the file itself fails.
    """
    place, _, cls = NAMES.get(name, name).rpartition(":")
    if not place or not cls:
        raise UnknownStrategy(name, NAMES)
    module = _from_path(name, Path(place)) if place.endswith(".py") else _imported(name, place)
    found = getattr(module, cls, None)
    if isinstance(found, type) and issubclass(found, Strategy) and found is not Strategy:
        return found
    why = f"{cls} is not a strategy" if found is not None else f"no {cls} in {place}"
    raise UnknownStrategy(name, [f"{place}:{other}" for other in _strategies(module)], why)


def parameters_from_text(
    cls: type[Strategy], texts: Mapping[str, str]
) -> dict[str, ParameterValue]:
    """Return typed values from ``name=text`` pairs of a command line, by the annotations.

    Raises ``UnknownParameter`` and ``ParameterOutOfRange``.
    """
    known = cls.declared()
    values = {}
    for name, text in texts.items():
        if name not in known:
            raise UnknownParameter(cls.__name__, name, known)
        values[name] = known[name].parse(cls.__name__, text)
    return values


def _strategies(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Strategy) and value is not Strategy
    ]


def _imported(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise UnknownStrategy(name, NAMES, f"no module {error.name}") from error
        raise StrategyError(f"{place} cannot be imported: {error}.") from error
    except Exception as error:
        raise StrategyError(f"{place} raised {type(error).__name__}: {error}.") from error


def _from_path(name: str, path: Path) -> ModuleType:
    full = path.resolve()
    if not full.is_file():
        raise UnknownStrategy(name, NAMES, f"no file {path}")
    text = full.read_bytes()
    digest = hashlib.sha256(str(full).encode() + b"\0" + text).hexdigest()[:16]
    known = sys.modules.get(f"mqd_user_{full.stem}_{digest}")
    return known or _execute(full, f"mqd_user_{full.stem}_{digest}")


class _FromSource(SourceFileLoader):
    """Compiles the file as it stands: cached bytecode of an edit within one second is stale."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        """Return the code of the file's present text."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _execute(path: Path, module_name: str) -> ModuleType:
    loader = _FromSource(module_name, str(path))
    spec = importlib.util.spec_from_file_location(module_name, path, loader=loader)
    if spec is None:
        raise StrategyError(f"{path} cannot be read as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.parent))
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise StrategyError(f"{path} raised {type(error).__name__}: {error}.") from error
    finally:
        sys.path.remove(str(path.parent))
    for cls in _strategies(module):
        if getattr(module, cls).__module__ == module_name:
            getattr(module, cls).__mqd_reference__ = f"{path}:{cls}"
    return module
