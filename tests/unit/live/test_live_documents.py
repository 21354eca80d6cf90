"""What stands in live/ is true: commands, files, alerts and the unit's confinement."""

import configparser
import re
from pathlib import Path

import pytest

from mqd.cli.main import COMMANDS
from mqd.live.config import read_config
from mqd.risk.kill_switch import LEVELS
from mqd.transaction_log import EXIT_CODE_FSYNC

ROOT = Path(__file__).parents[3]
LIVE = ROOT / "live"
RUNBOOK = (LIVE / "runbook.md").read_text()
TEXTS = RUNBOOK + (LIVE / "README.md").read_text() + (LIVE / "mqd-paper.service").read_text()


@pytest.mark.parametrize("word", sorted(set(re.findall(r"`?\bmqd ([a-z]+)[ `:;]", RUNBOOK))))
def test_every_command_of_the_runbook_exists(word):
    assert word in {name.split()[0] for name in COMMANDS}


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?<![\w/.])((?:live|mqd|datasets)/[\w/]+\.\w+)", TEXTS)))
)
def test_every_file_that_is_named_exists(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("path", sorted(LIVE.glob("config/*.toml")), ids=lambda path: path.name)
def test_every_configuration_can_be_read(path):
    assert read_config(path).limits.allow is not None


def test_every_option_of_a_command_in_the_runbook_is_one():
    source = {
        name: (ROOT / "mqd/cli" / f"{name}.py").read_text() for name in ("promote", "kill", "rearm")
    }
    words = (ROOT / "mqd/cli/words.py").read_text()
    for name, text in source.items():
        for line in re.findall(rf"mqd {name}\b[^`]*", RUNBOOK.replace("\\\n", " ")):
            for option in re.findall(r"--([a-z]+)", line.split("\n")[0]):
                assert re.search(rf"\b{option}_?\b *[:=]", text + words), (name, option)


def test_every_alert_of_the_table_can_be_seen():
    rows = re.findall(r"^\| (.*?) \|", RUNBOOK.split("## Each alert")[1], re.MULTILINE)[1:]
    library = "".join(path.read_text() for path in sorted((ROOT / "mqd").rglob("*.py")))
    library = re.sub(r'"\n\s+f?"', "", library)
    for seen in rows:
        for event in re.findall(r"`([a-z_]+)` in `mqd.jsonl`", seen):
            assert f'"{event}"' in library, event
        for sentence in re.findall(r'"([^"]{8,})"', seen):
            assert sentence.removeprefix("is ").split(" account")[0] in library, sentence
    levels = {level.name for level in LEVELS}
    assert set(re.findall(r"latch `(\w+)`", "\n".join(rows))) == levels
    assert f"exit code {EXIT_CODE_FSYNC}" in "\n".join(rows)
    assert len(rows) >= 12


def test_the_unit_confines_the_desk():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(LIVE / "mqd-paper.service")
    service = unit["Service"]
    assert service["ExecStart"].split()[1] in COMMANDS
    for name, value in {
        "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
        "LimitCORE": "0", "UMask": "0077", "StateDirectoryMode": "0700", "PrivateTmp": "yes",
        "CapabilityBoundingSet": "", "User": "mqd",
        "RestartPreventExitStatus": "1 2 3 74", "KillMode": "process", "OOMPolicy": "continue",
    }.items():  # fmt: skip
        assert service.get(name) == value, name
