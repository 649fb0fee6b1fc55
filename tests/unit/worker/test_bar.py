"""The log line of a step reads like tqdm's."""

import pytest

from worker.engine.job import Progress
from worker.tasks import progress_bar


@pytest.mark.parametrize(
    ("progress", "elapsed_s", "line"),
    [
        (Progress(13, 30, 3.2), 2.55, " 43%|████▎     | 13/30 [00:03<00:03,  5.10it/s]"),
        (Progress(1, 8, None), 0.2, " 12%|█▎        | 1/8 [00:00<?,  5.00it/s]"),
        (Progress(3, 3, 0.0), 0.5, "100%|██████████| 3/3 [00:00<00:00,  6.00it/s]"),
        (Progress(75, 150, 61.0), 150.0, " 50%|█████     | 75/150 [02:30<01:01,  0.50it/s]"),
        (Progress(1, 1, None), 0.0, "100%|██████████| 1/1 [00:00<?, ?it/s]"),
    ],
)
def test_reads_like_tqdms(progress: Progress, elapsed_s: float, line: str) -> None:
    assert progress_bar(progress, elapsed_s) == line


def test_is_always_as_wide() -> None:
    bars = [progress_bar(Progress(step, 150, None), 1.0).split("|")[1] for step in range(1, 151)]
    assert {len(bar) for bar in bars} == {10}
    assert bars == sorted(bars, key=lambda bar: bar.count("█"))
