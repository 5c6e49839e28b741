from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from nextword.decoding.prefixes import Prefix, PrefixCache

texts = st.lists(st.integers(0, 1), min_size=1, max_size=5).map(tuple)
STATE: Any = None  # nobody looks at it here
AFTER = torch.zeros(1, 2), torch.zeros(1, 3)


@given(st.integers(0, 12), st.lists(st.tuples(st.sampled_from(["put", "find"]), texts), max_size=40))
def test_those_longest_unused_give_way_and_no_others(most, calls):
    cache, known = PrefixCache(most), []  # the latest used last
    for call, ids in calls:
        found = cache.find(ids) if call == "find" else None
        assert (found is not None) == (call == "find" and ids in known)
        if call == "put":
            cache.put(Prefix(ids, STATE, AFTER))
        if ids in known or (call == "put" and len(ids) <= most):
            known = [*(other for other in known if other != ids), ids]
        while sum(map(len, known)) > most:
            del known[0]
    assert [ids for ids in known if cache.find(ids)] == known
