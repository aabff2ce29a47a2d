"""When an idle head stops itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_runtime.cluster.machine.autostop import Activity, IdleTimer

IDLE, BUSY = Activity(True), Activity(True, jobs=1)


def test_an_idle_cluster_counts_down_and_a_busy_one_does_not():
    """The countdown runs from the last moment that something went on."""
    timer = IdleTimer(60, now=0)
    assert timer.look(IDLE, now=10) == 50
    assert timer.look(BUSY, now=20) is None
    assert timer.look(IDLE, now=50) == 30
    assert timer.look(IDLE, now=81) == 0


@pytest.mark.parametrize(
    "activity", [Activity(True, jobs=1), Activity(True, workers=1), Activity(True, logins=1)]
)
def test_a_job_a_worker_and_a_login_each_keep_the_head_awake(activity):
    """Workers end first, and a user who is logged in or a running job keeps the head awake."""
    assert IdleTimer(1, now=0).look(activity, now=1000) is None


def test_a_cluster_that_does_not_answer_is_taken_for_a_busy_one():
    """Not knowing never stops a head."""
    assert IdleTimer(1, now=0).look(Activity(known=False), now=1000) is None
    assert str(Activity(known=False)) == "Ray doesn't answer"


def test_autostop_that_is_off_never_counts():
    """Without an idle time nothing is due."""
    assert IdleTimer(None, now=0).look(IDLE, now=1e9) is None


@given(st.lists(st.tuples(st.floats(0.1, 50), st.booleans()), max_size=40))
def test_a_head_never_stops_within_its_idle_time_of_some_activity(looks):
    """Whatever is seen, zero seconds are left only a whole idle time after the last activity."""
    timer, now, last = IdleTimer(60, now=0), 0.0, 0.0
    for pause, busy in looks:
        now += pause
        left = timer.look(BUSY if busy else IDLE, now=now)
        if busy:
            last = now
        if left == 0:
            assert now - last >= 60
