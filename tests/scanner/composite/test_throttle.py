"""The line keeps order, limits and nobody waiting; limits rise by one a round and halve once a burst."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scanner.composite.throttle import Limit, Line

HOSTS = st.sampled_from(["a", "b", "c"])


@given(most=st.integers(1, 64), events=st.lists(st.booleans(), max_size=200))
def test_a_limit_stays_between_one_and_the_most(most, events):
    limit = Limit(most)
    for now_s, good in enumerate(events):
        before = limit.allowed
        if good:
            limit.bear()
            assert before <= limit.allowed <= before + 1
        else:
            changed = limit.refuse(now_s, now_s)
            assert limit.allowed == max(1, before / 2)
            assert changed == (before > 1)
        assert 1 <= limit.allowed <= most


def test_a_burst_halves_once():
    limit = Limit(48)
    assert [limit.refuse(begun_s=0.0, now_s=1.0 + 0.01 * index) for index in range(48)] == [True] + [False] * 47
    assert limit.allowed == 24
    assert limit.refuse(begun_s=1.5, now_s=2.0)
    assert limit.allowed == 12


def test_a_round_of_good_requests_allows_one_more():
    limit = Limit(48)
    limit.refuse(0.0, 0.0)
    for _ in range(24):
        limit.bear()
    assert 24.9 < limit.allowed <= 25


class Waits(RuleBasedStateMachine):
    """The line against lists: what is added comes out once, in the order of rank and coming, within the limits."""

    def __init__(self):
        super().__init__()
        self.line = Line(3)
        self.now_s = 0.0
        self.ready, self.later, self.out = [], [], []
        self.number = 0

    @rule(host=HOSTS, rank=st.integers(0, 1))
    def add(self, host, rank):
        self.line.add(host, self.number, rank=rank)
        self.ready.append((rank, self.number, host))
        self.number += 1

    @rule()
    def take(self):
        self.ready += [entry for due_s, entry in self.later if due_s <= self.now_s]
        self.later = [one for one in self.later if one[0] > self.now_s]
        free = [one for one in self.ready if sum(key[2] == one[2] for key, _ in self.out) < 3]
        taken = self.line.take(self.now_s)
        assert (taken and taken.work) == (min(free)[1] if free else None)
        if taken:
            self.ready.remove(min(free))
            self.out.append((min(free), taken))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), wait_s=st.none() | st.floats(0, 5))
    def finish(self, data, wait_s):
        entry, taken = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.line.limit(taken.host).in_flight -= 1
        if wait_s is not None:
            self.line.postpone(taken, self.now_s + wait_s)
            self.later.append((self.now_s + wait_s, entry))

    @rule(seconds=st.floats(0, 5))
    def pass_time(self, seconds):
        self.now_s += seconds

    @rule()
    def clear(self):
        assert sorted(self.line.clear()) == sorted(entry[1] for entry in self.ready + [one for _, one in self.later])
        self.ready, self.later = [], []

    @invariant()
    def nothing_is_lost(self):
        assert len(self.line) == len(self.ready) + len(self.later)
        assert self.line.next_due_s() == min((due_s for due_s, _ in self.later), default=None)


TestWaits = Waits.TestCase
