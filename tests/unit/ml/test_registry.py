"""Versions, stages and the record of a registry. What a file says of itself is told here."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from mqd.errors import ModelRefused, MqdError, UsageError
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.features.labels import FixedHorizon, label_hash
from mqd.ml.registry import registry as module
from mqd.ml.registry.manifest import Manifest, Training
from mqd.ml.registry.registry import ModelRegistry
from mqd.ml.registry.stages import STAGES

ENGINEER = FeatureEngineer(("rsi(14)", "log_return(5)"))
FACTS = {
    "types": ["builtins.dict"],
    "estimator": "Ridge",
    "n_features": 2,
    "feature_names": ["rsi_14", "log_return_5"],
    "output": "probability",
    "classes": [0, 1],
    "row_exact": True,
}


class Clock:
    """A clock that says what it is told."""

    ns = 1_000

    def now_ns(self):
        return self.ns


@pytest.fixture
def facts(monkeypatch):
    told = dict(FACTS)
    monkeypatch.setattr(module, "inspect_model", lambda data, kind, *, memory_mb: told)
    return told


@pytest.fixture
def registry(tmp_path, facts):
    return ModelRegistry(tmp_path / "models", clock=Clock())


@pytest.fixture
def add(registry, tmp_path):
    """Register a file of the given text, by the name ``trees``."""

    def of(text="one", **words):
        path = tmp_path / "given.skops"
        path.write_bytes(b"PK\x03\x04" + text.encode())
        return registry.register(path, **({"name": "trees"} | words))

    return of


def files(registry):
    return sorted(path for path in registry.folder.rglob("*") if path.is_file())


def flip(path, at):
    """Change one bit of a file and return what it was."""
    before = path.read_bytes()
    changed = bytearray(before)
    changed[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(changed)
    return before


def test_a_version_is_kept_with_all_that_is_known_of_it(registry, add, tmp_path):
    label, training = FixedHorizon(5), Training("ab" * 32, 10, 20, 30)
    version = add(
        features=ENGINEER, label=label, training=training, metrics={"brier": 0.24},
        threshold=0.55, note="first", author="me",
    )  # fmt: skip
    told = registry.get("trees").manifest
    assert version.manifest == told
    assert (told.features, told.schema_sha256) == (ENGINEER.spec(), ENGINEER.schema.sha256)
    assert told.feature_names == ("rsi_14", "log_return_5")
    assert told.label == {"kind": "fixed_horizon", "bars": 5, "threshold_frac": 0.0}
    assert told.training == training._asdict()
    assert told.trained_to_ns == 20
    assert (told.metrics, told.threshold) == ({"brier": 0.24}, 0.55)
    assert (told.note, told.author, told.registered_ns) == ("first", "me", 1_000)
    assert {"numpy", "scikit-learn", "skops", "scipy", "mqd"} == set(told.versions)
    assert len(told.code_sha256) == 64
    assert registry.read("trees") == (tmp_path / "given.skops").read_bytes()


def test_what_is_written_is_the_owners_alone(registry, add):
    version = add()
    folder = registry.folder / "trees" / version.sha256
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in registry.folder.rglob("*")}
    assert {modes[folder], modes[folder.parent]} == {0o700}
    assert {modes[path] for path in folder.iterdir()} == {0o400}
    assert modes[registry.folder / "registry.ndjson"] == 0o600


def test_a_folder_in_which_others_may_write_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ModelRefused, match="others may write here"):
        ModelRegistry(tmp_path / "open")


def test_the_same_file_with_the_same_words_is_the_same_version(registry, add):
    assert add(threshold=0.5) == add(threshold=0.5)
    assert len(registry.versions()) == 1
    with pytest.raises(ModelRefused, match=r"already, with other words \(threshold, note\)"):
        add(threshold=0.6, note="again")


def test_a_reference_is_a_name_or_a_name_with_the_start_of_a_digest(registry, add):
    first, second = add("one"), add("two")
    assert registry.get("trees") == second
    assert registry.get(first.reference) == registry.get(f"trees@{first.sha256[:8]}") == first
    registry.move(first.reference, "candidate", "good")
    registry.move(first.reference, "champion", "better")
    assert registry.get("trees").sha256 == first.sha256
    for wrong, said in (
        ("tree", "Did you mean 'trees'"),
        (f"trees@{first.sha256[:7]}", "eight digits or more"),
        ("trees@" + "0" * 64, "0 versions fit"),
    ):
        with pytest.raises(UsageError, match=said):
            registry.get(wrong)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Trees",
        "../up",
        "a/b",
        ".hidden",
        "a" * 65,
        "lock",
        "registry.ndjson",
        "week.v2",
        "week-2",
    ],
)
def test_a_name_cannot_lead_out_of_the_folder_or_take_the_place_of_a_file(add, name):
    with pytest.raises(UsageError, match="short lower-case word"):
        add(name=name)


LEGAL = {
    ("shadow", "candidate"), ("shadow", "retired"), ("candidate", "champion"),
    ("candidate", "shadow"), ("candidate", "retired"), ("champion", "retired"),
    ("retired", "shadow"),
}  # fmt: skip
"""A former champion may also come back from retired; that is a test of its own."""

WAYS = {
    "shadow": [], "candidate": ["candidate"], "champion": ["candidate", "champion"],
    "retired": ["retired"],
}  # fmt: skip


@pytest.mark.parametrize("to", STAGES)
@pytest.mark.parametrize("start", STAGES)
def test_a_move_is_one_of_the_table_or_is_refused_with_what_may_be(registry, add, start, to):
    version = add()
    for stage in WAYS[start]:
        registry.move(version.reference, stage, "on the way")
    if (start, to) in LEGAL:
        moved = registry.move(version.reference, to, "reason")
        assert moved.stage == registry.get(version.reference).stage == to
    else:
        with pytest.raises(ModelRefused):
            registry.move(version.reference, to, "reason")
        assert registry.get(version.reference).stage == start


def test_a_move_needs_a_stage_and_a_reason(registry, add):
    add()
    with pytest.raises(UsageError, match=r"No stage .champ.\..*Did you mean .champion."):
        registry.move("trees", "champ", "x")
    with pytest.raises(UsageError, match="for a reason"):
        registry.move("trees", "candidate", " ")


def crown(registry, *versions):
    for version in versions:
        registry.move(version.reference, "candidate", "good")
        registry.move(version.reference, "champion", "better", by="me")


def test_a_name_has_one_champion_and_knows_the_one_before(registry, add):
    first, second, other = add("one"), add("two"), add("one", name="linear")
    assert registry.champion("trees") is registry.previous_champion("trees") is None
    crown(registry, first, other, second)
    assert registry.champion("trees").sha256 == second.sha256
    assert registry.previous_champion("trees").sha256 == first.sha256
    assert registry.champion("linear").sha256 == other.sha256
    assert registry.previous_champion("linear") is None
    last = registry.history("trees")[-1]
    assert (last["stage"], last["by"], last["reason"]) == ("champion", "me", "better")
    assert (last["sha256"], last["retires"]) == (second.sha256, first.sha256)
    assert registry.get(first.reference).stage == "retired"


def test_a_champion_retired_by_hand_is_not_fallen_back_on(registry, add):
    first, second, third = add("one"), add("two"), add("three")
    crown(registry, first, second)
    registry.move(second.reference, "retired", "it loses")
    crown(registry, third)
    assert registry.previous_champion("trees").sha256 == first.sha256


def test_a_champion_that_was_rolled_back_is_not_fallen_back_on(registry, add):
    oldest, first, second = add("zero"), add("one"), add("two")
    crown(registry, oldest, first, second)
    registry.move(first.reference, "champion", "the new one is worse")
    assert registry.champion("trees").sha256 == first.sha256
    assert registry.previous_champion("trees").sha256 == oldest.sha256


def test_a_former_champion_that_somebody_moved_since_is_not_fallen_back_on(registry, add):
    first, second = add("one"), add("two")
    crown(registry, first, second)
    registry.move(first.reference, "shadow", "look again")
    assert registry.previous_champion("trees") is None
    registry.move(first.reference, "retired", "it was broken all along")
    assert registry.previous_champion("trees") is None


def test_a_retired_version_is_meant_by_its_hash_alone(registry, add):
    first, second = add("one"), add("two")
    registry.move(second.reference, "retired", "it loses money")
    assert registry.get("trees") == first
    registry.move(first.reference, "retired", "it too")
    with pytest.raises(UsageError, match="All versions of trees are retired: name one by its hash"):
        registry.get("trees")
    assert registry.get(first.reference).stage == "retired"


def test_a_version_with_a_damaged_manifest_can_be_retired_and_replaced(registry, add):
    first, second, third = add("one"), add("two"), add("three")
    crown(registry, first, second)
    flip(registry.folder / "trees" / second.sha256 / "manifest.json", 7)
    registry.move(third.reference, "candidate", "better")
    assert registry.move(first.reference, "champion", "rollback").stage == "champion"
    assert registry.champion("trees").sha256 == first.sha256
    flip(registry.folder / "trees" / third.sha256 / "manifest.json", 7)
    with pytest.raises(ModelRefused, match="changed after the model was registered"):
        registry.move(third.reference, "champion", "unread")
    assert [one.stage for one in registry.standings()] == ["champion", "retired", "candidate"]
    assert registry.move(third.reference, "retired", "damaged").stage == "retired"


def test_a_crowning_that_was_cut_off_leaves_the_champion(registry, add, monkeypatch):
    first, second = add("one"), add("two")
    crown(registry, first)
    registry.move(second.reference, "candidate", "better")
    path = registry.folder / "registry.ndjson"
    whole = path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
    with pytest.raises(ModelRefused, match="took only a part"):
        registry.move(second.reference, "champion", "now")
    monkeypatch.setattr(os, "write", write)
    assert path.read_bytes() == whole
    registry.move(second.reference, "champion", "now")
    lines = path.read_bytes()
    for cut in range(len(whole), len(lines), 5):
        path.write_bytes(lines[:cut])
        assert ModelRegistry(registry.folder).champion("trees").sha256 == first.sha256
    path.write_bytes(lines)
    assert ModelRegistry(registry.folder).champion("trees").sha256 == second.sha256


def test_every_byte_of_a_model_file_counts(registry, add):
    version = add("a model of some bytes")
    path = registry.folder / "trees" / version.sha256 / "model.skops"
    for at in range(path.stat().st_size):
        before = flip(path, at)
        with pytest.raises(ModelRefused, match="not the file that was registered"):
            registry.read("trees")
        path.write_bytes(before)
    assert registry.read("trees") == before


def test_a_file_that_is_cut_longer_exchanged_or_gone_is_refused(registry, add):
    one, two = add("one"), add("two")
    path = registry.folder / "trees" / one.sha256 / "model.skops"
    other = registry.folder / "trees" / two.sha256 / "model.skops"
    whole = path.read_bytes()
    path.chmod(0o600)
    for data in (whole[:-1], whole + b"\0", other.read_bytes(), b""):
        path.write_bytes(data)
        with pytest.raises(ModelRefused, match="not the file that was registered"):
            registry.read(one.reference)
    path.unlink()
    with pytest.raises(ModelRefused, match="No such file"):
        registry.read(one.reference)
    path.symlink_to(other)
    with pytest.raises(ModelRefused, match="symbolic link"):
        registry.read(one.reference)


def test_every_byte_of_a_manifest_counts(registry, add):
    version = add()
    path = registry.folder / "trees" / version.sha256 / "manifest.json"
    for at in range(0, path.stat().st_size, 7):
        before = flip(path, at)
        with pytest.raises(ModelRefused, match="changed after the model was registered"):
            registry.get("trees")
        path.write_bytes(before)
    assert registry.get("trees") == version


def test_every_byte_of_the_record_counts(registry, add):
    version = add()
    registry.move("trees", "candidate", "good")
    path = registry.folder / "registry.ndjson"
    size = path.stat().st_size
    for at in range(0, size - 1, 3):
        before = flip(path, at)
        with pytest.raises(MqdError):
            ModelRegistry(registry.folder).get("trees")
        path.write_bytes(before)
    assert ModelRegistry(registry.folder).get("trees") == version._replace(stage="candidate")


def test_a_line_taken_out_or_put_in_breaks_the_record(registry, add):
    add("one"), add("two"), add("three")
    path = registry.folder / "registry.ndjson"
    one, two, three = path.read_bytes().splitlines(keepends=True)
    for lines in ((one, three), (two, three), (one, one, two), (one, three, two)):
        path.write_bytes(b"".join(lines))
        with pytest.raises(ModelRefused, match="the chain of hashes breaks here"):
            ModelRegistry(registry.folder).versions()


def test_an_unfinished_last_line_was_no_record_and_is_kept_aside(registry, add):
    add("one")
    path = registry.folder / "registry.ndjson"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"k": "reg')
    assert len(ModelRegistry(registry.folder).versions()) == 1
    second = add("two")
    assert (registry.folder / "registry.torn-1").read_bytes() == b'{"k": "reg'
    assert ModelRegistry(registry.folder).get("trees") == second
    assert path.read_bytes().startswith(whole)


def test_a_folder_without_a_record_was_never_a_version(registry, add):
    version = add("one")
    (registry.folder / "registry.ndjson").unlink()
    left = registry.folder / "trees" / version.sha256
    flip(left / "model.skops", 5)
    fresh = ModelRegistry(registry.folder, clock=Clock())
    with pytest.raises(UsageError, match="has no model"):
        fresh.get("trees")
    assert add("one") == version
    assert fresh.read("trees")
    (orphan,) = left.parent.glob(".orphan-*")
    assert (orphan / "model.skops").read_bytes() != fresh.read("trees")


def test_registries_in_one_folder_see_each_others_lines_and_lose_none(registry, facts, tmp_path):
    def many(start):
        mine = ModelRegistry(registry.folder)
        for number in range(start, start + 5):
            path = tmp_path / f"{number}.skops"
            path.write_bytes(b"PK\x03\x04" + bytes([number]))
            mine.register(path, name=f"model{number}")

    threads = [threading.Thread(target=many, args=(start,)) for start in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.versions()) == 15


WRONG = {
    "fewer features": ({"n_features": 3}, "takes 3 features, the schema has 2"),
    "other names": ({"feature_names": ["rsi_14", "rsi_2"]}, "column 1 is 'rsi_2'.*'log_return_5'"),
    "too few names": ({"feature_names": ["rsi_14"]}, "names 1 columns and takes 2"),
    "other order": ({"feature_names": ["log_return_5", "rsi_14"]}, "column 0 is 'log_return_5'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_of_other_features_is_refused(registry, add, facts, what):
    change, said = WRONG[what]
    facts.update(change)
    with pytest.raises(ModelRefused, match=said):
        add(features=ENGINEER)
    assert registry.versions() == []
    assert [path for path in files(registry) if path.suffix == ".skops"] == []


def test_features_may_be_told_by_their_spec_or_not_at_all(add):
    told = add("one", features=ENGINEER.spec()).manifest
    assert told.schema_sha256 == ENGINEER.schema.sha256
    bare = add("two")
    assert (bare.manifest.schema_sha256, bare.manifest.features) == ("", None)
    assert bare.manifest.feature_names == ("rsi_14", "log_return_5")
    with pytest.raises(ModelRefused, match="names no features"):
        bare.engineer  # the property is asked


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf"), "high"])
def test_a_threshold_is_a_value_that_the_model_can_give(add, threshold):
    with pytest.raises(ModelRefused, match="no value of a probability"):
        add(threshold=threshold)


def test_what_json_cannot_hold_is_refused_before_anything_is_written(registry, add):
    for words in ({"metrics": {"sharpe": float("nan")}}, {"training": {"n_rows": object()}}):
        with pytest.raises(ModelRefused, match="plain JSON"):
            add(**words)
    assert registry.versions() == []


def test_training_tells_what_it_can_tell_and_nothing_else(registry, add):
    with pytest.raises(UsageError, match="training has no 'data_sha'"):
        add(training={"data_sha": "oops"})
    assert registry.versions() == []


@pytest.mark.parametrize(("words", "said"), [
    ({"features": FeatureEngineer(("rsi(14)", "log_return(1)"))}, "trained on other features"),
    ({}, "trained on other features"),
    ({"features": ENGINEER, "label": FixedHorizon(60)}, "trained on another label"),
    ({"features": ENGINEER}, "trained on another label"),
])  # fmt: skip
def test_other_features_or_another_label_than_the_rows_are_refused(add, facts, words, said):
    facts["feature_names"] = None  # a model that was fitted on an array knows no names
    label = FixedHorizon(5)
    rows = Training("ab" * 32, 10, 20, 30, ENGINEER.schema.sha256, label_hash(label))
    with pytest.raises(ModelRefused, match=said):
        add(training=rows, **words)
    assert add(training=rows, features=ENGINEER, label=label).stage == "shadow"


@pytest.mark.parametrize(("words", "said"), [
    ({"label": "FixedHorizon(5)"}, "give a label"), ({"label": FixedHorizon}, "give a label"),
    ({"training": 5}, "Dataset.training"), ({"features": "rsi(14)"}, "a list of texts"),
])  # fmt: skip
def test_words_of_another_kind_are_a_sentence(add, words, said):
    with pytest.raises(MqdError, match=said):
        add(**words)


def test_features_may_be_a_list_of_texts(add):
    assert add(features=["rsi(14)", "log_return(5)"]).manifest.features == ENGINEER.spec()


def test_words_that_json_changes_are_the_same_words(add):
    assert add(metrics={"folds": (0.1, 0.2)}) == add(metrics={"folds": [0.1, 0.2]})


def test_a_manifest_with_a_field_too_many_or_of_another_type_is_none(add):
    told = json.loads(add().manifest.to_bytes())
    for change in (
        {"extra": 1},
        {"schema": "2"},
        {"row_exact": "yes"},
        {"classes": {}},
        {"size_bytes": "4"},
    ):
        with pytest.raises(ModelRefused, match="The manifest"):
            Manifest.from_bytes(json.dumps(told | change).encode())
    del told["note"]
    with pytest.raises(ModelRefused, match="The manifest"):
        Manifest.from_bytes(json.dumps(told).encode())


def test_a_disk_that_does_not_take_the_record_leaves_no_version(registry, add, monkeypatch):
    def full(fd, data):
        raise OSError(28, "No space left on device")

    add("one")
    write = os.write
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ModelRefused, match="No space left"):
        add("two")
    monkeypatch.setattr(os, "write", write)
    assert len(registry.versions()) == 1
    assert Path(registry.folder / "registry.ndjson").read_bytes().count(b"\n") == 1
