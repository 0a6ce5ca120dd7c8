import itertools

import torch

from encoder_ablations.segmenters.losses.matching import assign


def test_the_cheapest_assignment_is_found():
    costs = torch.randn(2, 3, 5, 3, generator=torch.Generator().manual_seed(0))
    counts = [3, 0, 2]
    matches = assign(costs, counts)
    assert matches.queries.shape == matches.segments.shape == (2, 5)
    for prediction in range(2):
        pairs = list(
            zip(
                matches.queries[prediction].tolist(),
                matches.segments[prediction].tolist(),
                strict=True,
            )
        )
        for image, first, count in ((0, 0, 3), (2, 3, 2)):
            own = [
                (query - 5 * image, segment - first)
                for query, segment in pairs
                if query // 5 == image
            ]
            found = sum(costs[prediction, image, query, segment] for query, segment in own)
            best = min(
                sum(
                    costs[prediction, image, query, segment] for segment, query in enumerate(choice)
                )
                for choice in itertools.permutations(range(5), count)
            )
            assert sorted(segment for _, segment in own) == list(range(count))
            torch.testing.assert_close(found, best)


def test_more_segments_than_queries():
    costs = torch.tensor([[[[3.0, 1.0, 2.0], [0.0, 5.0, 9.0]]]])
    matches = assign(costs, [3])
    assert matches.queries.tolist() == [[0, 1]]
    assert matches.segments.tolist() == [[1, 0]]


def test_not_finite_costs_are_avoided():
    costs = torch.tensor([[[[torch.nan], [7.0], [torch.inf]]]])
    assert assign(costs, [1]).queries.tolist() == [[1]]
