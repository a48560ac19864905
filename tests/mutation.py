"""Random mutations of bytes, JSON and tables, for tests that read the results."""

import copy
import json
import os

import pyarrow as pa

ALL = bool(os.environ.get("KDPROBE_ALL_FAULTS"))
"""Whether to read all mutations, or a few of each kind."""
TOGETHER = 100_000
_PIECES = [b"", b"\x00", b"\xff\xfe", b'"', b"{", b"[", b"]" * 50, b"," * 50, b"\r", b"null", b"NaN", b"1e999999999"]
_PIECES += [b"-1", b"9" * 5_000, b"[" * 5_000, b"\\ud800", "é".encode("latin-1"), b"\xef\xbb\xbf", b"true", b"{}"]
_PIECES += [b"[[1]]"]
_VALUES = [None, True, False, 0, -1, 3, 10**30, -(2**63), 1e308, -0.5, float("nan"), float("inf"), "", "x", "\ud800"]
_VALUES += ["\x00", "1", "none", "9" * 400, [], {}, [[1]], [None], ["x"], {"a": 1}, [1, 2, 3]]


def mutated(content, chance):
    """The content with one to four pieces cut out, doubled, moved or replaced."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(changed) + 1)
        stop = min(len(changed), start + chance.choice([0, 1, 1, 4, 40, len(changed)]))
        piece = chance.choice([chance.choice(_PIECES), bytes([chance.randrange(256)]), bytes(changed[start:stop]) * 2])
        changed[start:stop] = piece
    return bytes(changed)


def mutated_json(content, chance):
    """JSON with one to three values changed, removed or renamed; every second time, its bytes are mutated instead."""
    if chance.random() < 0.5:
        return mutated(content, chance)
    data = [json.loads(content)]
    for _ in range(chance.randint(1, 3)):
        holder, key = chance.choice(list(_places(data)))
        change = chance.randrange(4)
        if change == 0 and holder is not data:
            del holder[key]
        elif change == 1 and isinstance(holder, dict):
            holder[chance.choice(["x", "", key.upper()])] = holder.pop(key)
        elif change == 2:
            holder[key] = [copy.deepcopy(holder[key])] * chance.randint(0, 3)
        else:
            holder[key] = copy.deepcopy(chance.choice(_VALUES))
    return json.dumps(data[0]).encode()


def _places(data):
    """Every container in some data, with each of its keys or indices."""
    items = list(data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ())
    for key, value in items:
        yield data, key
        yield from _places(value)


def mutated_table(table, chance):
    """A table with one to three columns removed, replaced by others, converted, or with changed cells."""
    for _ in range(chance.randint(1, 3)):
        index = chance.randrange(table.num_columns)
        name, cells = table.column_names[index], table.column(index).to_pylist()
        match chance.randrange(6):
            case 0 if table.num_columns > 1:
                table = table.remove_column(index)
                continue
            case 1:
                other = chance.choice([*table.column_names, "tail_logmass_0", "tail_logmass_x", "tail_logmass_-1.0"])
                table = table.set_column(index, other, table.column(index))
                continue
            case 2:
                column = pa.array([chance.choice([None, "", "x", "\x00"]) for _ in cells], pa.string())
            case 3:
                column = pa.array([chance.choice([None, 0, -1, 2**31 - 1]) for _ in cells], pa.int32())
            case 4:
                lists = [chance.choice([None, [], [0], [1.5] * 3, [float("nan")]]) for _ in cells]
                column = pa.array(lists, chance.choice([pa.list_(pa.float32()), pa.large_list(pa.float64())]))
            case _:
                chance.shuffle(cells)
                cells = [_other(cell, chance) for cell in cells]
                column = pa.array(cells, table.schema.field(index).type)
        table = table.set_column(index, name, column)
    return table


def _other(cell, chance):
    if isinstance(cell, list) and cell:
        return chance.choice([cell, cell[:-1], cell * 2, [None], None])
    return chance.choice([cell, cell, None])
