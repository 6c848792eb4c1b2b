"""Who leads a run, by what each of its agents has told last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sai3tui.controller.lead import Lead, Leads, shown_name

SECOND = 1_000_000_000
NOON = 1_764_158_400 * SECOND

leads = st.builds(Lead, st.sampled_from(["", "anna", "bert", "cora"]), st.integers(NOON, NOON + 60 * SECOND))


def test_it_is_said_in_words() -> None:
    assert Lead("anna@lab, pid 7, 3f0a", NOON + 191 * SECOND).sentence == (
        "anna@lab, pid 7 leads this run since 12:03:11 UTC"
    )
    assert Lead("", NOON).sentence == "nobody leads this run since 12:00:00 UTC"
    assert Lead().sentence == "another controller leads this run"
    assert [shown_name(name) for name in ("the first", "anna@lab, pid 7", "a, b, c")] == [
        "the first",
        "anna@lab, pid 7",
        "a, b",
    ]


def test_agents_hear_of_a_new_leader_one_after_the_other() -> None:
    told = Leads()
    assert told.lead == Lead()
    told.tell("a1", Lead("anna", NOON))
    told.tell("a2", Lead("anna", NOON + 5))
    assert told.lead == Lead("anna", NOON)
    told.tell("a1", Lead("bert", NOON + 20))
    assert told.lead.by == "bert"
    told.tell("a2", Lead("", NOON + 30))
    assert told.lead == Lead("bert", NOON + 20)
    told.tell("a1", Lead("", NOON + 40))
    assert told.lead == Lead("", NOON + 40)


@given(st.lists(st.tuples(st.sampled_from(["a1", "a2", "a3"]), leads), min_size=1))
def test_nobody_leads_only_where_nobody_leads_at_any_agent(told: list[tuple[str, Lead]]) -> None:
    each = dict(told)
    found = Leads()
    for agent, lead in told:
        found.tell(agent, lead)
    named = [lead for lead in each.values() if lead.by]
    assert bool(found.lead.by) == bool(named)
    assert found.lead in each.values()
    if named:
        newest = max(lead.since_ns for lead in named)
        assert any(lead.by == found.lead.by and lead.since_ns == newest for lead in named)


def test_what_a_lost_agent_told_last_says_nothing_of_who_leads_now() -> None:
    """Agent and controller may be lost with the same host."""
    told = Leads()
    told.tell("a1", Lead("anna", NOON))
    told.tell("a2", Lead("anna", NOON))
    told.tell("a2", Lead("", NOON + 30))
    assert told.lead.by == "anna"
    told.lose("a1")
    assert told.lead == Lead("", NOON + 30)
    # Nobody else is left: the last word stands.
    told.lose("a2")
    assert told.lead == Lead("", NOON + 30)
