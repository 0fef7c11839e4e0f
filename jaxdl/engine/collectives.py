"""What devices send each other in a step: the collectives in a compiled program's text.

Bytes are those of one device. What a ring sends of a result of B bytes over n devices: all-gather
and all-to-all B (n - 1) / n, all-reduce twice that, reduce-scatter B (n - 1), a permutation B
(Patarasu and Yuan 2009).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

# Bytes sent, of the bytes of the result and the size of the group.
SENT: Mapping[str, Callable[[int, int], float]] = {
    'all-reduce': lambda size, n: 2 * size * (n - 1) / n,
    'all-gather': lambda size, n: size * (n - 1) / n,
    'reduce-scatter': lambda size, n: size * (n - 1),
    'all-to-all': lambda size, n: size * (n - 1) / n,
    'collective-permute': lambda size, n: size,
}
BITS = {'pred': 8}  # where the name does not say

_OPERATION = re.compile(
    rf'= (?P<result>.+?) (?P<kind>{"|".join(SENT)})(?P<start>-start)?\((?P<rest>.*)'
)
_HEAD = re.compile(r'(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\) -> .*\{$')
_CALLED = re.compile(r'(?:body|condition|calls|to_apply)=%?([\w.-]+)|branch_computations=\{(.*?)\}')
_TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
_ARRAY = re.compile(r'\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\]')


class Collective(NamedTuple):
    """Collectives of one kind in groups of one size.

    size: devices of a group. times: how often a step does one. bytes: of all their results.
    sent: what a device sends for them by a ring.
    """

    kind: str
    size: int
    times: int
    bytes: int
    sent: float


class Traffic(NamedTuple):
    """The collectives of a program, largest first, and whether loops hide how many there are.

    unknown: collectives counted once because they stand in a loop of unknown length.
    loops: whether there are loops at all, whose body the compiler's own sums count once.
    """

    collectives: tuple[Collective, ...]
    unknown: int
    loops: bool

    @property
    def sent(self) -> float:
        """Bytes that a device sends in all."""
        return sum(each.sent for each in self.collectives)


def collectives(text: str, devices: int) -> Traffic:
    """The collectives in the text of an optimised HLO module for so many devices.

    In a loop each counts as often as the loop is known to run.
    """
    bodies = dict(_computations(text))
    entry = next((name for name, (main, _) in bodies.items() if main), None)
    times: Counter[str] = Counter()
    open_ended: set[str] = set()
    loops = False

    def visit(name: str, count: int, doubtful: bool) -> None:
        nonlocal loops
        times[name] += count
        if doubtful:
            open_ended.add(name)
        for line in bodies[name][1]:
            each, unsure = count, doubtful
            if ' while(' in line:
                loops = True
                trips = _trips(line, bodies)
                each, unsure = count * (trips or 1), doubtful or trips is None
            for one, several in _CALLED.findall(line):
                for called in re.findall(r'[\w.-]+', one or several):
                    if called in bodies:
                        visit(called, each, unsure)

    if entry is not None:
        visit(entry, 1, False)
    # A TPU's program writes one collective down several times: where it starts, what runs beside it
    # and where it ends. They have one channel.
    each_once: dict[str, tuple[str, int, int, int, bool]] = {}
    for name, count in times.items():
        for i, (kind, group, size, channel) in enumerate(_found(name, bodies[name][1], devices)):
            key = channel or f'{name} {i}'
            if key not in each_once or each_once[key][3] < count:
                each_once[key] = kind, group, size, count, name in open_ended
    counts: Counter[tuple[str, int]] = Counter()
    sizes: Counter[tuple[str, int]] = Counter()
    for kind, group, size, count, _ in each_once.values():
        counts[kind, group] += count
        sizes[kind, group] += count * size
    unknown = sum(doubtful for *_, doubtful in each_once.values())
    found = [
        Collective(*key, counts[key], size, SENT[key[0]](size, key[1]))
        for key, size in sizes.items()
    ]
    found.sort(key=lambda each: -each.sent)
    return Traffic(tuple(found), unknown, loops)


def _computations(text: str) -> Iterator[tuple[str, tuple[bool, list[str]]]]:
    """Each computation of a module by name: whether it is the entry, and its lines."""
    name, main, lines = '', False, list[str]()
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name, main, lines = head['name'], line.startswith('ENTRY'), []
        elif line.startswith('}') and name:
            yield name, (main, lines)
            name = ''
        elif name:
            lines.append(line)


def _trips(line: str, bodies: Mapping[str, tuple[bool, list[str]]]) -> int | None:
    """How often a loop runs: as its line says, or its condition that counts up to a constant."""
    if known := _TRIPS.search(line):
        return int(known[1])
    condition = re.search(r'condition=%?([\w.-]+)', line)
    inside = '\n'.join(bodies[condition[1]][1]) if condition and condition[1] in bodies else ''
    until = re.search(r'ROOT .* compare\(.*?, ?(?:\S+ )?%?([\w.-]+)\), direction=LT', inside)
    if until is None:
        return None
    constant = re.search(rf'%?{re.escape(until[1])} = s32\[\]\S* constant\((\d+)\)', inside)
    return int(constant[1]) if constant else None


def _found(name: str, lines: list[str], devices: int) -> Iterator[tuple[str, int, int, str | None]]:
    """Each collective as its kind, the devices of a group, the bytes of its result, its channel.

    What a TPU calls all-reduce-scatter is an all-reduce of which each device keeps its part.
    """
    for line in lines:
        if (match := _OPERATION.search(line)) is None:
            continue
        kind, result = match['kind'], match['result']
        # An asynchronous one returns what it is given too, but for all-reduce.
        if match['start'] and kind != 'all-reduce' and result.startswith('('):
            result = _parts(result[1:-1])[1]
        group = _group(match['rest'], devices)
        channel = re.search(r'channel_id=(\d+)', match['rest'])
        size = _bytes(result)
        if kind == 'all-reduce' and name.startswith('all-reduce-scatter'):
            kind, size = 'reduce-scatter', size // group
        if group > 1 or kind == 'collective-permute':
            yield kind, group, size, channel[1] if channel else None


def _parts(text: str) -> list[str]:
    """The parts of a tuple's type between its outermost commas."""
    parts, depth = [''], 0
    for letter in text:
        depth += (letter in '([{') - (letter in ')]}')
        if letter == ',' and depth == 0:
            parts.append('')
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _bytes(text: str) -> int:
    """The bytes of every array in a type: ``(f32[2,3]{1,0}, bf16[4])`` has 32."""
    total = 0
    for name, shape in _ARRAY.findall(text):
        entries = math.prod(int(size) for size in shape.split(',') if size)
        digits = re.match(r'[a-z]+(\d+)', name)
        bits = BITS[name] if name in BITS else int(digits[1]) if digits else 0
        total += -(-entries * bits // 8)
    return total


def _group(text: str, devices: int) -> int:
    """The size of the groups of a collective; all devices where it names none."""
    if found := re.search(r'replica_groups=\[(?:\d+,)*(\d+)\]<=', text):
        return int(found[1])
    if found := re.search(r'replica_groups=\{\{([\d,]+)\}', text):
        return found[1].count(',') + 1
    if found := re.search(r'replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}', text):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        named = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])  # a part of an axis: its size
        return math.prod(int(part or sizes[axis]) for axis, part in named)
    return devices
