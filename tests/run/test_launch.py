"""Where a process stands, as the environment says."""

import pytest

from alexnet.errors import UsageError
from alexnet.run import launch
from alexnet.run.launch import Place, place

TORCHRUN = {
    "RANK": "11",
    "WORLD_SIZE": "16",
    "LOCAL_RANK": "3",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
    "TORCHELASTIC_RESTART_COUNT": "1",
}


@pytest.fixture
def environment(monkeypatch):
    def set_to(**values):
        for name in TORCHRUN:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_to


def test_a_process_that_nobody_launched_is_alone(environment):
    environment()
    assert place() == Place()
    environment(RANK="3")  # of some other program
    assert place() == Place()


def test_the_place_that_torchrun_gives(environment):
    environment(**TORCHRUN)
    assert place() == Place(rank=11, world=16, local=3, node=1, nodes=2, attempt=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK='x' is not a number"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK='-1' is not a number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 lies outside WORLD_SIZE=2"),
    ],
)
def test_a_place_that_is_none_is_refused(environment, values, message):
    environment(**values)
    with pytest.raises(UsageError, match=message):
        place()


def test_who_waits_before_an_error_is_said(environment, monkeypatch):
    """Alone nobody; of several, rank 0 says what all know, and nobody that another one is gone."""
    waited = []
    monkeypatch.setattr(launch.time, "sleep", waited.append)
    environment()
    launch.let_others_speak(lost=True)
    environment(RANK="0", WORLD_SIZE="2")
    launch.let_others_speak(lost=False)
    assert waited == []
    launch.let_others_speak(lost=True)
    environment(RANK="1", WORLD_SIZE="2")
    launch.let_others_speak(lost=False)
    assert waited == [launch.LOST_ERROR, launch.OWN_ERROR]
    assert launch.LOST_ERROR > launch.OWN_ERROR
