"""Model files as bytes: what kind they are, and which are refused before anything parses them.

Only skops and ONNX are read. A pickle runs code while it is loaded, so one is refused whatever it
is called; so are archives that unfold to more than they may, and files that are too large.
Nothing here parses a model: that happens in the process that ``mqd.ml.sandbox`` has shut off.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path
from typing import Final, Literal, NamedTuple

from mqd.errors import ModelRefused

Kind = Literal["skops", "onnx"]

FILE_BYTES_MAX: Final = 256 << 20
UNFOLDED_BYTES_MAX: Final = 1 << 30
MEMBERS_MAX: Final = 100_000
TRUSTED_TYPES: Final = frozenset({
    "mqd.ml.models.SimpleRuleModel",
    "sklearn._loss.link.IdentityLink", "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogLink", "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss", "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss._loss.CyHalfBinomialLoss", "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration",
    "sklearn.tree._tree.Tree", "sklearn.utils._bunch.Bunch",
})  # fmt: skip
"""What a skops file may hold beside what skops itself trusts: each class was read. A type that is
in neither list refuses the file."""


class ModelFile(NamedTuple):
    """The bytes of a file, read once; all that follows uses these."""

    name: str
    kind: Kind
    content: bytes

    @property
    def sha256(self) -> str:
        """The hash of the bytes."""
        return hashlib.sha256(self.content).hexdigest()


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Return the bytes of a model's file, once; raise ``ModelRefused`` for what is none."""
    file = Path(path)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ModelRefused(file.name, f"it cannot be read ({error.strerror}).") from error
    with os.fdopen(fd, "rb") as opened:
        told = os.fstat(opened.fileno())
        if not stat.S_ISREG(told.st_mode):
            raise ModelRefused(file.name, "it is no regular file.")
        if told.st_size > FILE_BYTES_MAX:
            raise ModelRefused(
                file.name, f"{told.st_size:,} bytes are more than {FILE_BYTES_MAX:,}."
            )
        content = opened.read(FILE_BYTES_MAX + 1)
    return ModelFile(file.name, kind_of(file.name, content), content)


def kind_of(name: str, content: bytes) -> Kind:
    """Return what a file is by its first bytes; raise ``ModelRefused``, a pickle by name."""
    if content[:4] == b"PK\x03\x04":
        _refuse_archive(name, content)
        return "skops"
    pickled = content[:1] == b"\x80" and content[1:2] in b"\x00\x01\x02\x03\x04\x05"
    if pickled or content[:3] in {b"(dp", b"(lp", b"cos", b"c__"} or content[:2] == b"\x78\x9c":
        raise ModelRefused(
            name,
            "it is a pickle, which runs code when it is loaded. Save the estimator with"
            " ModelRegistry.save(estimator, ...), or with skops.io.dump.",
        )
    if content[:1] == b"\x08" and name.endswith(".onnx"):
        return "onnx"
    raise ModelRefused(name, "it is neither a skops file nor an ONNX model.")


def _refuse_archive(name: str, content: bytes) -> None:
    """Refuse an archive that is cut off, unfolds to too much, or holds no skops schema."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ModelRefused(name, f"its archive is damaged or cut off ({error}).") from error
    if len(members) > MEMBERS_MAX or sum(one.file_size for one in members) > UNFOLDED_BYTES_MAX:
        raise ModelRefused(name, f"it unfolds to more than {UNFOLDED_BYTES_MAX:,} bytes.")
    if "schema.json" not in {one.filename for one in members}:
        raise ModelRefused(name, "it is an archive without a skops schema.")
