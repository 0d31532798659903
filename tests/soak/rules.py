"""What must be true of every world when nothing is left to happen.

Each rule takes the world and names what is wrong with it. They look at what both sides claim and at what is on the
disks, never at how it came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from blockstep.protocol.machine import Machine
from blockstep.protocol.wire import Opcode
from blockstep_lab.drivers import SendDriver
from blockstep_lab.parties import Party
from blockstep_server.admission import Policy, Verdict
from blockstep_server.report import Result
from soak.ends import SimClient
from soak.server import SimChild
from soak.world import World

__all__ = ["RULES", "broken"]

_MOST_DATAGRAMS, _MOST_BYTES = 3, 1548

Complaints = Iterator[str]


def broken(world: World) -> list[str]:
    """What is wrong with it."""
    return [f"{rule.__name__}: {complaint}" for rule in RULES for complaint in rule(world)]


def _everybody_is_done(world: World) -> Complaints:
    for address, client in world.clients:
        if not client.finished:
            yield f"{address} still waits"
    for child in _children(world):
        if not child.finished:
            yield f"the transfer of {child.peer} still waits"


def _what_is_complete_is_the_file(world: World) -> Complaints:
    """A name holds one version, whole; who says that he has or has brought a file is right, at the time he says it."""
    for _, name, content in world.store.versions:
        if content not in [client.plan.content for _, client in world.clients if client.plan.name == name]:
            yield f"{name} held {len(content)} bytes that nobody sent"
    for address, client in world.clients:
        if client.succeeded:
            yield from _is_true(world, address[0], client)


def _is_true(world: World, host: str, client: SimClient) -> Complaints:
    plan, said_at = client.plan, client.client.delivered_at or 0.0
    if plan.opcode is Opcode.WRQ:
        at = [time for time, name, content in world.store.versions if (name, content) == (plan.name, plan.content)]
        if not at or min(at) > said_at:
            yield f"{host} was told that {plan.name} had arrived, before it was on the disk: {at}, told at {said_at}"
        return
    versions = [content for _, name, content in world.store.versions if name == plan.name]
    if client.got not in (*versions, world.first_files.get(plan.name)):
        yield f"{host} has something as {plan.name} that the server never had"


def _a_sender_believes_only_what_is_on_the_disk(world: World) -> Complaints:
    by_address = dict(world.clients)
    for child in _children(world):
        if child.sent_content is None or child.party.delivered_at is None:
            continue
        if by_address[child.peer].got != child.sent_content:
            yield f"the server knows that {child.peer} has the file, but it has not"


def _records_tell_the_truth(world: World) -> Complaints:
    for child in _children(world):
        record = child.record
        if record is None or record.result is not Result.COMPLETE:
            continue
        if child.party.delivered_at is None:
            yield f"the log says complete, the transfer of {child.peer} was not"


def _every_place_is_free(world: World) -> Complaints:
    server = world.server
    if server.living:
        yield f"{len(server.living)} children live"
    if len(server.admission) or len(server.suspicion):
        yield f"{len(server.admission)} places are held, {len(server.suspicion)} transfers half-open"
    server.admission.policy = Policy(max_sessions=1, max_per_client=1)
    for claim in server.claims:
        if (verdict := server.admission.judge_claim(claim, 0.99)) is not Verdict.ACCEPTED:
            yield f"{claim.source} may not come again: {verdict.value}"
    free = sum(server.board.maybe_take() is not None for _ in range(world.habits.board_slots))
    if free != world.habits.board_slots:
        yield f"{free} of {world.habits.board_slots} slots of the board are free"
    counted = sum(row["count"] for row in server.tally.facts()["rows"])  # type: ignore[attr-defined]
    if counted != len(server.buried):
        yield f"{counted} records for {len(server.buried)} children"


def _forged_requests_cost_little(world: World) -> Complaints:
    most = 1 if world.habits.strict_source else _MOST_DATAGRAMS
    for victim in world.victims:
        if len(victim.got) > most * victim.asked or sum(victim.got) > _MOST_BYTES * victim.asked:
            yield f"{victim.asked} forged requests made {len(victim.got)} datagrams of {sum(victim.got)} bytes"


def _nothing_multiplies(world: World) -> Complaints:
    """Go-back-N: a reason sends a window again at most, and there is no reason without a trouble of the link."""
    by_address = dict(world.clients)
    for child in _children(world):
        client = by_address.get(child.peer)
        own = child.party.driver
        other = client.client.driver if client is not None and child.address == client.client.peer else None
        if own is None or other is None:
            continue
        yield from _multiplied(world, child, *_both(child.party, own.machine, other.machine))


def _both(party: Party, own: Machine, other: Machine) -> tuple[Machine, Machine]:
    """(sender, receiver)"""
    return (own, other) if isinstance(party.driver, SendDriver) else (other, own)


def _multiplied(world: World, child: SimChild, sender: Machine, receiver: Machine) -> Complaints:
    host = child.peer[0]
    link = world.links[host]
    counters = (link.up.counters, link.down.counters)
    troubles = sum(each.lost + each.duplicated + each.reordered + each.corrupted for each in counters)
    timeouts = sender.stats.timeouts + receiver.stats.timeouts
    if sender.stats.resends > sender.agreed.windowsize * (sender.stats.timeouts + sender.stats.gaps):
        yield f"{host}: more resends than reasons: {sender.stats}"
    if sender.stats.gaps > 3 * (troubles + timeouts + 1):
        yield f"{host}: {sender.stats.gaps} gaps, but {troubles} troubles of the link and {timeouts} timeouts"
    # Every OACK is answered, also one of a child before, which has ended and whose port is used again.
    others = sum(each.party.sent for each in _children(world) if each.peer == child.peer and each is not child)
    copies = sum(each.duplicated for each in counters)
    if receiver.stats.resends > receiver.stats.duplicates + receiver.stats.gaps + timeouts + others + copies + 1:
        yield f"{host}: more ACKs than reasons: {receiver.stats}"


def _children(world: World) -> Iterator[SimChild]:
    for server in world.servers:
        yield from (*server.living, *server.buried)


RULES: tuple[Callable[[World], Complaints], ...] = (
    _everybody_is_done,
    _what_is_complete_is_the_file,
    _a_sender_believes_only_what_is_on_the_disk,
    _records_tell_the_truth,
    _every_place_is_free,
    _forged_requests_cost_little,
    _nothing_multiplies,
)
