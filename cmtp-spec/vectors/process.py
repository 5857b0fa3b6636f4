"""Chapter 7: which steps a message may have, in which order. A layer is here anything with `step`, `status`, `flags` and `effect`:
the names of the fields about a write's effect that it carries, None where it is withheld."""
from __future__ import annotations

import re
from dataclasses import replace

from base import COMPLETE, CUT, OPCODE, PROCESS, PROCESS_RULE, SIGNED, STEP, require

class _Process:
    """A process as a function run(layers, start, end) -> (ends, begins): where a match from `start` may end, and whether all
    of layers[start:end] is a beginning of a match."""

    def __init__(self, text: str):
        self.tokens = re.findall(r"[a-z0-9]+(?:\(signed\))?|[|*?!()]", text)
        self.run = self.alternatives()

    def alternatives(self):
        branches = [self.sequence()]
        while self.tokens[:1] == ["|"]:
            self.tokens.pop(0)
            branches.append(self.sequence())

        def run(layers, start, end):
            results = [branch(layers, start, end) for branch in branches]
            return set().union(*(ends for ends, _ in results)), any(begins for _, begins in results)
        return run

    def sequence(self):
        items = []
        while self.tokens and self.tokens[0] not in ("|", ")"):
            items.append(self.repeated())

        def run(layers, start, end):
            starts, begins = {start}, False
            for item in items:
                results = [item(layers, at, end) for at in starts]
                starts = set().union(*(ends for ends, _ in results))
                begins = begins or any(b for _, b in results)
            return starts, begins or end in starts
        return run

    def repeated(self):
        item = self.single()
        while self.tokens and self.tokens[0] in "*?!":
            item = {"*": _star, "?": _optional, "!": _may_stop}[self.tokens.pop(0)](item)
        return item

    def single(self):
        token = self.tokens.pop(0)
        if token == "(":
            item = self.alternatives()
            self.tokens.pop(0)
            return item
        if token in PROCESS_RULE:
            return _Process(PROCESS_RULE[token]).run
        step, signed = STEP[token.removesuffix("(signed)")], token.endswith("(signed)")

        def run(layers, start, end):
            if start == end:
                return set(), True
            matches = layers[start].step == step and (not signed or layers[start].flags & SIGNED)
            return ({start + 1} if matches else set()), matches and start + 1 == end
        return run


def _star(item):
    def run(layers, start, end):
        reached, new, begins = set(), {start}, False
        while new:
            reached |= new
            results = [item(layers, at, end) for at in new]
            begins = begins or any(b for _, b in results)
            new = set().union(*(ends for ends, _ in results)) - reached
        return reached, begins or end in reached
    return run


def _optional(item):
    def run(layers, start, end):
        ends, begins = item(layers, start, end)
        return ends | {start}, begins or start == end
    return run


def _may_stop(item):
    def run(layers, start, end):
        ends, begins = item(layers, start, end)
        stops = {stop for stop in range(start + 1, end + 1)
                 if layers[stop - 1].status >= 400 and item(layers, start, stop)[1]}
        return ends | stops, begins or end in stops
    return run


def check_process(opcode: int, layers: list) -> None:
    """PRC-1 to PRC-3, PRC-5, PRC-6 and PRC-10. `opcode` is a number; 0: the target does not begin with an opcode of the table."""
    refused = bool(layers) and layers[-1].status >= 400
    if opcode == 0:
        require([layer.step for layer in layers] == [STEP["origin"], STEP["admit"]] and refused, "PRC-3", "no opcode, and not refused")
        _check_effect(False, layers)
        return
    name = next((name for name, number in OPCODE.items() if number == opcode), None)
    require(name, "PRC-3", f"no opcode has the number {opcode:#x}")
    if refused and len(layers) == 2 and layers[1].step == STEP["admit"]:                     # PRC-2
        layers = [replace(layers[0], flags=layers[0].flags | SIGNED), layers[1]]
    ends, begins = _Process(PROCESS[name]).run(layers, 0, len(layers))
    require(len(layers) in ends or (refused and begins), "PRC-1", "the layers are not the opcode's process")
    segments = [layer for layer in layers if layer.step == STEP["segment"]]
    require(all(bool(segment.flags & (COMPLETE | CUT)) == (segment is segments[-1]) for segment in segments), "PRC-5",
            "the last segment, and no other, carries complete or cut")
    require(all(before.status < 400 or after.step == STEP["check"] for before, after in zip(layers, layers[1:])), "PRC-10",
            "a layer other than check after a refusal")
    if PROCESS[name] in ("write", "event", "agreed"):
        _check_effect(refused and layers[-1].step not in (STEP["admit"], STEP["resolve"]), layers)
    elif not name.endswith("W"):
        _check_effect(False, layers)


def _check_effect(in_question: bool, layers: list) -> None:
    """PRC-6. `in_question`: a write that stopped later than at admit and resolve."""
    *others, last = layers
    require(not any(layer.effect for layer in others), "PRC-6", "a field about the effect on a layer before the last")
    if last.effect is None:
        return
    require(in_question or not last.effect, "PRC-6", "a field about the effect, and none is in question")
    require(len(last.effect) < 2, "PRC-6", "both fields about the effect")
    dispatched = any(layer.step == STEP["dispatch"] for layer in layers)
    require(not in_question or not dispatched or last.effect, "PRC-6", "the end of a dispatched write leaves its effect open")


def message_status(layers: list[Layer]) -> int:
    return next((layer.status for layer in reversed(layers) if layer.status), 0)
