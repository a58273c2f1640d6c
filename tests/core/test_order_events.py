"""Facts about an order may come shuffled, doubled or not at all: what is known converges."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from builders import FRIDAY, THURSDAY, at, order
from hypothesis import given
from hypothesis import strategies as st

from bot.core.order_events import STRENGTH, OrderEvent, standing
from bot.core.orders import LATE_STATES, NEXT_STATES, Fill, OrderState

S = OrderState
KEY = order().key


def event(state: OrderState) -> OrderEvent:
    return OrderEvent(key=KEY, at=at(THURSDAY), state=state)


def fill(n: int, shares: int = 1_000) -> Fill:
    return Fill(key=KEY, symbol="2330", session=FRIDAY, shares=shares, price_x100=100_00, commission_twd=20, tax_twd=0,
                n=n)  # fmt: skip


def reachable() -> dict[OrderState, set[OrderState]]:
    """From each state all that may ever follow, corrections included: Warshall over the two tables."""
    steps = {state: set(NEXT_STATES[state] | LATE_STATES.get(state, frozenset())) for state in OrderState}
    for via in OrderState:
        for state in OrderState:
            if via in steps[state]:
                steps[state] |= steps[via]
    return steps


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[OrderEvent | Fill], OrderState]:
    """A legal life of an order of 3 lots: a walk through the two tables, its parts told as they trade."""
    state, facts, parts = S.PLANNED, [event(S.PLANNED)], 0
    while following := sorted(NEXT_STATES[state] | (LATE_STATES.get(state, frozenset()) if S.SENDING in {
        fact.state for fact in facts if isinstance(fact, OrderEvent)} else frozenset())):  # fmt: skip
        if draw(st.booleans()) and state in {S.ACCEPTED, S.UNKNOWN, S.EXPIRED} and parts < 2:
            parts += 1
            facts.append(fill(parts))
            continue
        if draw(st.integers(0, 5)) == 0:
            break
        state = draw(st.sampled_from(following))
        if parts and state is S.REJECTED:
            state = S.EXPIRED
        if state is S.FILLED:
            facts += [fill(n) for n in range(parts + 1, 4)]
        facts.append(event(state))
    return facts, state


def told(facts: list[OrderEvent | Fill]) -> OrderState:
    return known(facts).state


def known(facts: list[OrderEvent | Fill]) -> object:
    events = [fact for fact in facts if isinstance(fact, OrderEvent)]
    return standing(3_000, events, [fact for fact in facts if isinstance(fact, Fill)])


@given(histories(), st.randoms(use_true_random=False))
def test_shuffled_and_doubled_facts_come_to_the_same(history: tuple[list, OrderState], dice: Random) -> None:
    facts, state = history
    assert told(facts) is state
    mixed = [*facts, *dice.choices(facts, k=5)]
    dice.shuffle(mixed)
    assert known(mixed) == known(facts)


@given(histories(), st.randoms(use_true_random=False))
def test_each_step_of_a_shuffled_story_is_one_that_may_follow(history: tuple[list, OrderState], dice: Random) -> None:
    facts, steps = list(history[0]), reachable()
    dice.shuffle(facts)
    before = S.PLANNED
    for count in range(1, len(facts) + 1):
        now = told(facts[:count])
        assert now is before or now in steps[before]
        before = now


@given(histories(), st.randoms(use_true_random=False))
def test_a_lost_fact_is_made_up_for_by_any_later_one(history: tuple[list, OrderState], dice: Random) -> None:
    facts, state = history
    kept = [fact for fact in facts[:-1] if dice.random() < 0.5] + [facts[-1]]
    seen = told(kept)
    assert STRENGTH[seen] <= STRENGTH[state]
    if isinstance(facts[-1], OrderEvent):
        assert seen is state


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4_000)), max_size=8), st.randoms(use_true_random=False))
def test_fills_never_exceed_the_quantity_and_what_can_not_be_is_named(
    parts: list[tuple[int, int]], dice: Random
) -> None:
    fills = [fill(n, shares) for n, shares in parts]
    found = standing(3_000, [], fills)
    assert found.filled_shares <= 3_000
    assert len({one.n for one in found.fills}) == len(found.fills)
    assert bool(found.contradictions) == (set(found.fills) != set(fills))
    dice.shuffle(fills)
    assert standing(3_000, [], fills) == found


def test_a_dead_order_with_one_part_missing_is_dead_and_with_it_filled() -> None:
    events = [event(state) for state in (S.PLANNED, S.SENDING, S.UNKNOWN, S.EXPIRED)]
    partly = standing(2_000, events, [fill(1)])
    assert (partly.state, partly.filled_shares, partly.left) == (S.EXPIRED, 1_000, True)
    assert standing(2_000, events, [fill(2), fill(1)]).state is S.FILLED
    assert not standing(2_000, [event(S.PLANNED), event(S.CANCELLED)], []).left


def test_the_same_part_told_in_two_ways_is_a_contradiction() -> None:
    found = standing(3_000, [], [fill(1), replace(fill(1), price_x100=99_00)])
    assert found.contradictions == ("part 1 is told in two ways",)
