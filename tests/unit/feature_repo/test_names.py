from feature_repo.names import PLACEMENTS, RANKERS, ranker_for


def test_every_placement_has_exactly_one_ranker():
    listed = [placement for one in RANKERS.values() for placement in one.placements]
    assert sorted(listed) == sorted(PLACEMENTS)
    assert all(placement in ranker_for(placement).placements for placement in PLACEMENTS)


def test_rankers_share_no_name():
    for field in ("key", "model", "service", "rule"):
        assert len({getattr(one, field) for one in RANKERS.values()}) == len(RANKERS)
