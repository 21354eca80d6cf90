"""Rebuilding a desk: the collector rests while records are taken in, and works again afterwards."""

import gc
from types import SimpleNamespace

import pytest

from mqd.live import builder


@pytest.mark.parametrize("fails", [False, True])
def test_the_collector_rests_and_is_back_whatever_happens(monkeypatch, tmp_path, fails):
    seen = []

    class Watched:
        def __init__(self, *parts):
            self.parts = parts

        def take(self, records):
            seen.append(gc.isenabled())
            if fails:
                raise ValueError(records)
            return "rebuilt"

    monkeypatch.setattr(builder, "Recovery", Watched)
    journal = SimpleNamespace(log=SimpleNamespace(folder=tmp_path))
    try:
        if fails:
            with pytest.raises(ValueError):
                builder.recover(None, None, journal)
        else:
            assert builder.recover(None, None, journal) == "rebuilt"
        assert seen == [False]
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
