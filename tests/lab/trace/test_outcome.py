"""How a transfer ended, and its sums."""

from __future__ import annotations

from blockstep_lab.trace.outcome import Result
from blockstep_lab.trace.transfer import Why
from support.capture_story import Story, ack, data, error, oack, read_request, write_request


def test_complete(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 2)
    story.server(data(3, 10))
    story.client(ack(3))
    outcome = story.outcome()
    assert (outcome.result, outcome.blocks, outcome.octets, outcome.last) == (Result.COMPLETE, 3, 1034, 3)
    assert outcome.duration_s == 0.0006


def test_an_empty_file_and_a_file_that_fills_its_blocks(story: Story) -> None:
    story.request(write_request())
    story.server(ack(0))
    story.client(data(1, 0))
    story.server(ack(1))
    outcome = story.outcome()
    assert (outcome.result, outcome.blocks, outcome.octets) == (Result.COMPLETE, 1, 0)


def test_the_last_ack_is_missing(story: Story) -> None:
    story.request(read_request())
    story.server(data(1, 10))
    assert story.outcome().result is Result.UNACKNOWLEDGED


def test_refused(story: Story) -> None:
    story.request(read_request())
    story.server(error(1, "no\x1b[31m such file"))
    outcome = story.outcome()
    assert outcome.result is Result.REFUSED
    assert outcome.detail == r'server: ERROR 1 "no\x1b[31m such file"'


def test_failed(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 1)
    story.client(error(3, "disk full"))
    outcome = story.outcome()
    assert (outcome.result, outcome.detail) == (Result.FAILED, 'client: ERROR 3 "disk full"')


def test_a_probe_of_the_size_is_no_failure(story: Story) -> None:
    story.request(read_request(tsize=0))
    story.server(oack(tsize=99))
    story.client(error(8, "only asking"))
    assert story.outcome().result is Result.PROBE


def test_an_oack_that_the_client_does_not_like(story: Story) -> None:
    story.request(read_request(blksize=8))
    story.server(oack(blksize=16))
    story.client(error(8))
    assert story.outcome().result is Result.FAILED


def test_unanswered_and_incomplete(story: Story) -> None:
    story.request(read_request())
    assert story.outcome().result is Result.UNANSWERED
    story = Story(story.path)
    story.request(read_request())
    story.lock_step(1, 1)
    assert story.outcome().result is Result.INCOMPLETE


def test_an_error_to_a_stray_ends_nothing(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 1)
    story.client(error(5), tid=("127.0.0.1", 50009))
    story.server(data(2, 0))
    story.client(ack(2))
    assert story.outcome().result is Result.COMPLETE


def test_blocks_that_the_capture_missed(story: Story) -> None:
    story.request(read_request())
    for index in (1, 2, 4):
        story.server(data(index))
        story.client(ack(index))
    outcome = story.outcome()
    assert (outcome.blocks, outcome.missing) == (3, 1)


def test_blocks_behind_the_end_do_not_count(story: Story) -> None:
    story.request(read_request())
    story.server(data(1, 10))
    story.client(ack(1))
    story.server(data(2))
    outcome = story.outcome()
    assert (outcome.blocks, outcome.octets) == (1, 10)


def test_resends_are_counted_by_kind_and_cause(story: Story) -> None:
    story.request(read_request())
    story.request(read_request(), after_s=1)
    story.server(data(1))
    story.server(data(1), after_s=1)
    story.server(data(1), after_s=2)
    assert story.outcome().resends == {("DATA", Why.TIMER): 2, ("RRQ", Why.TIMER): 1}
