from __future__ import annotations

import json

import pytest
from simulated_population import Population, Stop

from ray_advpose.search.lineage import Lineage


@pytest.mark.parametrize("explore", ["perturb", "bandit"])
def test_a_search_killed_anywhere_decides_as_the_undisturbed_one(tmp_path, explore):
    undisturbed = Population(tmp_path / "whole.jsonl", explore=explore).run(4)
    assert len(undisturbed) >= 4
    for events in range(0, 36, 5 if explore == "perturb" else 12):
        path = tmp_path / f"killed-{events}.jsonl"
        with pytest.raises(Stop):
            Population(path, events_left=events, explore=explore).run(4)
        # The line that was being written is cut off.
        with path.open("ab") as file:
            file.write(b'{"event": "standing", "at": 17')
        assert Population(path, explore=explore).run(4) == undisturbed
        events_written = [json.loads(line)["event"] for line in path.read_text().splitlines()]
        assert events_written.count("decision") == 4


def test_the_path_to_a_network_goes_through_whom_it_was_copied_from(tmp_path):
    population = Population(tmp_path / "lineage.jsonl")
    exploits = population.run(6)
    lineage = Lineage(tmp_path / "lineage.jsonl")
    copied_again = [
        (later, earlier)
        for later in exploits
        for earlier in exploits
        if (later.donor, later.donor_generation) == (earlier.trial, earlier.generation)
    ]
    assert copied_again, "nobody copied a copy; the test needs another seed"
    later, earlier = copied_again[0]
    path = lineage.path_to(later.trial, later.generation, population.initial)
    barriers = [stretch.barrier for stretch in path]
    assert barriers == sorted(set(barriers))
    assert path[0].barrier == 0
    assert path[-1].overrides == later.overrides
    assert path[-2].overrides == earlier.overrides
    assert (path[-2].trial, path[-2].generation) == (earlier.trial, earlier.generation)


def test_a_trial_that_comes_to_a_barrier_again_stands_as_it_does_now(tmp_path):
    population = Population(tmp_path / "lineage.jsonl")
    standing = population._trained(3, 1)
    population.lineage.add_standing(standing)
    population.lineage.add_standing(standing)
    assert Lineage(tmp_path / "lineage.jsonl").standings(1) == {3: standing}
