from itertools import combinations, product

from cases import pairwise
from hypothesis import given
from hypothesis import strategies as st


@given(sizes=st.lists(st.integers(2, 4), min_size=3, max_size=4))
def test_any_two_choices_meet_in_what_runs_often(sizes):
    settings = [[f"{at}{choice}" for choice in range(size)] for at, size in enumerate(sizes)]
    cases = pairwise(*settings)
    often = [case for case in cases if isinstance(case, tuple) and not hasattr(case, "marks")]
    assert len(cases) == len(list(product(*settings)))
    assert len(often) <= len(cases) // 2 + 1
    met = {pair for case in often for pair in combinations(case, 2)}
    assert met == {pair for one, other in combinations(settings, 2) for pair in product(one, other)}
