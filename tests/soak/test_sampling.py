from __future__ import annotations

import os
import time
from pathlib import Path

from soak.sampling import read_samples, sampled


def test_what_a_process_uses_is_noted_while_it_is_watched(tmp_path: Path) -> None:
    file = tmp_path / "samples.csv"
    with sampled(os.getpid(), file, every_s=0.001):
        until = time.monotonic() + 10
        while not file.exists() or file.read_text().count("\n") < 5:
            assert time.monotonic() < until
            time.sleep(0.001)
    samples = read_samples(file)
    assert len(samples) >= 4
    assert all(sample.memory_kib > 1000 and sample.children >= 1 and sample.descriptors >= 3 for sample in samples)
    assert [sample.seconds for sample in samples] == sorted(sample.seconds for sample in samples)


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "samples.csv"
    file.write_text("seconds,memory_kib,children,descriptors\n0.0,17000,3,12\n1.0,17004,2,12\n2.0,170")
    assert [sample.memory_kib for sample in read_samples(file)] == [17000, 17004]
