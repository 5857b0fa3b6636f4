#!/usr/bin/env python3
"""Makes src/generated.rs and the tables of the chapters from registry/*.toml.

    generate.py            writes them
    generate.py --check    writes nothing; exits 1 and names what is stale
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

REGISTRY = Path(__file__).resolve().parent
ROOT = REGISTRY.parent
RUST = ROOT / "src" / "generated.rs"


def load():
    return {p.stem: tomllib.loads(p.read_text()) for p in sorted(REGISTRY.glob("*.toml"))}


def constant(name):
    return re.sub(r"[^A-Z0-9]", "_", name.upper()).removeprefix("0X")


def number(value, repr_):
    return f"{value:#04x}" if repr_ == "u64" else f"{value:#06x}" if repr_ == "u16" else str(value)


def grouped(value):
    return f"{value:,}".replace(",", "_")


# Processes: text of the registry to a tree. Each tree is ("step", name, signed), ("rule", name), ("seq"|"alt", [tree]),
# ("star"|"opt"|"stop", tree).


def parse_process(text, rules):
    tokens = re.findall(r"\(signed\)|[a-z][a-z0-9]*|[()|*?!]", text)
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1]

    def alternatives():
        branches = [sequence()]
        while peek() == "|":
            take()
            branches.append(sequence())
        return branches[0] if len(branches) == 1 else ("alt", branches)

    def sequence():
        items = []
        while peek() not in (None, ")", "|"):
            items.append(repeated())
        return items[0] if len(items) == 1 else ("seq", items)

    def repeated():
        token = take()
        if token == "(":
            item = alternatives()
            if take() != ")":
                raise SystemExit(f"unbalanced process: {text}")
        elif token in rules:
            item = ("rule", token)
        else:
            signed = peek() == "(signed)"
            if signed:
                take()
            item = ("step", token, signed)
        while peek() in ("*", "?", "!"):
            item = ({"*": "star", "?": "opt", "!": "stop"}[take()], item)
        return item

    tree = alternatives()
    if position != len(tokens):
        raise SystemExit(f"trailing text in process: {text}")
    return tree


def rust_process(tree):
    kind = tree[0]
    if kind == "step":
        variant = "Signed" if tree[2] else "Step"
        return f"Process::{variant}(Step::{constant(tree[1])})"
    if kind == "rule":
        return constant(tree[1])
    if kind in ("seq", "alt"):
        inner = ", ".join(rust_process(t) for t in tree[1])
        return f"Process::{kind.capitalize()}(&[{inner}])"
    return f"Process::{kind.capitalize()}(&{rust_process(tree[1])})"


def rust_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def rust(registry):
    out = [
        "// Made by registry/generate.py from registry/*.toml. Do not edit.",
        "",
        "use crate::{Field, FieldClass, FieldKind, Process, Remedy, Retry};",
    ]
    for stem, table in registry.items():
        if "newtype" not in table:
            continue
        newtype, repr_ = table["newtype"], table["repr"]
        out += ["", "crate::registry! {", f"    /// {table['title']}: `spec/{table['chapter']}`.", f"    {newtype}: {repr_} {{"]
        for e in table["entry"]:
            note = e["note"][0].upper() + e["note"][1:]
            out.append(f"        {constant(e['name'])} = {number(e['number'], repr_)}, {rust_string(e['name'])}, {rust_string(note + '.')};")
        out += ["    }", "}"]

    def module(name, doc, lines):
        return ["", f"/// {doc}", f"pub mod {name} {{"] + ["    " + line for line in lines] + ["}"]

    lines = []
    for e in registry["limits"]["entry"]:
        lines += [f"/// {e['note'][0].upper() + e['note'][1:]}, in {e['unit']}.", f"pub const {constant(e['name'])}: u64 = {grouped(e['value'])};"]
    out += module("limits", "Limits: `spec/15-limits.md`.", lines)

    lines = []
    for e in registry["binding"]["entry"]:
        value, name = e["value"], constant(e["name"])
        lines.append(f"/// {e['note'][0].upper() + e['note'][1:]}.")
        if isinstance(value, int):
            lines.append(f"pub const {name}: u16 = {value};")
        elif value.startswith("hex:"):
            data = bytes.fromhex(value[4:])
            lines.append(f"pub const {name}: [u8; {len(data)}] = [{', '.join(f'{b:#04x}' for b in data)}];")
        else:
            lines.append(f"pub const {name}: &str = {rust_string(value)};")
    out += module("binding", "Constants of the bindings: `spec/09-quic.md`, `spec/11-nats.md`, `spec/12-stored.md`.", lines)

    lines = []
    for e in registry["tags"]["entry"]:
        lines += [f"/// Pre-image of {e['note']}.", f"pub const {constant(e['name'])}: [u8; 8] = *b{rust_string(e['value'])};"]
    out += module("tags", "First eight bytes of every hash pre-image: `spec/04-hashing.md`.", lines)

    lines = []
    for e in registry["signature-uses"]["entry"]:
        lines += [f"/// {e['note'][0].upper() + e['note'][1:]}.", f"pub const {constant(e['name'])}: &str = {rust_string(e['name'])};"]
    out += module("uses", "Uses of signatures: `spec/05-signatures.md`.", lines)

    lines = ["use super::Remedy;", ""]
    for e in registry["remedies"]["entry"]:
        lines += [f"/// {e['note'][0].upper() + e['note'][1:]}.", f"pub const {constant(e['name'])}: Remedy = Remedy({rust_string(e['name'])});"]
    out += module("remedies", "Words of the field `remedy`: `spec/08-statuses.md`.", lines)

    out += ["", "impl Status {", "    /// Whether and how a request that got this status may be sent again."]
    out += ["    pub const fn retry(self) -> Retry {", "        match self {"]
    for retry in ("same", "later", "new"):
        names = [f"Self::{constant(e['name'])}" for e in registry["statuses"]["entry"] if e["retry"] == retry]
        out.append(f"            {' | '.join(names)} => Retry::{retry.capitalize()},")
    out += ["            _ => Retry::Never,", "        }", "    }", ""]
    out += ["    /// What a program does next where the answer carries no `remedy` of its own."]
    out += ["    pub const fn remedy(self) -> Option<Remedy> {", "        match self {"]
    for e in registry["statuses"]["entry"]:
        if e["remedy"]:
            out.append(f"            Self::{constant(e['name'])} => Some(remedies::{constant(e['remedy'])}),")
    out += ["            _ => None,", "        }", "    }", "}"]

    rules = {r["name"] for r in registry["opcodes"]["rule"]}
    for r in registry["opcodes"]["rule"]:
        note = r["note"][0].upper() + r["note"][1:]
        out += ["", f"/// {note}.", f"const {constant(r['name'])}: Process = {rust_process(parse_process(r['process'], rules))};"]
    out += ["", "impl Opcode {", "    /// The steps that a message with this opcode goes through."]
    out += ["    pub const fn process(self) -> Option<&'static Process> {", "        match self {"]
    for e in registry["opcodes"]["entry"]:
        tree = parse_process(e["process"], rules)
        out.append(f"            Self::{constant(e['name'])} => Some(&{rust_process(tree)}),")
    out += ["            _ => None,", "        }", "    }", "}"]

    out = out[:-1] + ["", "    /// What policies call a request with this opcode: `spec/23-policies.md`."]
    out += ["    pub const fn action(self) -> Option<&'static str> {", "        match self {"]
    for action in dict.fromkeys(e["action"] for e in registry["opcodes"]["entry"]):
        names = [f"Self::{constant(e['name'])}" for e in registry["opcodes"]["entry"] if e["action"] == action]
        out.append(f"            {' | '.join(names)} => Some({rust_string(action)}),")
    out += ["            _ => None,", "        }", "    }", "}"]

    out += ["", "/// The static field table: `spec/03-layers.md`.", "pub const FIELDS: &[Field] = &["]
    for e in registry["fields"]["entry"]:
        kind, class_ = e["kind"].capitalize(), e["class"].capitalize()
        out.append(
            f"    Field {{ index: FieldIndex::{constant(e['name'])}, name: {rust_string(e['name'])}, kind: FieldKind::{kind}, class: FieldClass::{class_} }},"
        )
    out += ["];", ""]
    text = "\n".join(out)
    return subprocess.run(
        ["rustfmt", "--edition", "2024", "--config-path", str(ROOT.parent)], input=text, capture_output=True, text=True, check=True
    ).stdout


def markdown(stem, table):
    keys = [k for k in table["entry"][0] if k != "note"] + ["note"]
    repr_ = table.get("repr")

    def cell(key, value):
        if key == "number":
            return number(value, repr_)
        if key == "value":
            return f"`{value}`" if isinstance(value, str) else f"{value:,}"
        if key in ("name", "process", "action", "retry", "kind", "class") or (key == "remedy" and value):
            return "`" + str(value).replace("|", "\\|") + "`"
        return str(value)

    def rows(entries, keys):
        return ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)] + [
            "| " + " | ".join(cell(k, e[k]) for k in keys) + " |" for e in entries
        ]

    out = []
    if "rule" in table:
        out += rows(table["rule"], ["name", "process", "note"]) + [""]
    return "\n".join(out + rows(table["entry"], keys))


def chapters(registry):
    for path in sorted((ROOT / "spec").glob("*.md")):
        text = path.read_text()

        def fill(match):
            return f"<!-- registry:{match[1]} -->\n{markdown(match[1], registry[match[1]])}\n<!-- /registry -->"

        yield path, re.sub(r"<!-- registry:([a-z-]+) -->\n.*?<!-- /registry -->", fill, text, flags=re.S)


def main():
    registry = load()
    wanted = {RUST: rust(registry)} | dict(chapters(registry))
    shown = {m for text in wanted.values() for m in re.findall(r"<!-- registry:([a-z-]+) -->", text)}
    for stem in registry.keys() - shown:
        print(f"registry/{stem}.toml stands in no chapter: add <!-- registry:{stem} --> to spec/{registry[stem]['chapter']}")
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run cmtp-spec/registry/generate.py")
        sys.exit(1 if stale or registry.keys() - shown else 0)
    for path in stale:
        path.write_text(wanted[path])


if __name__ == "__main__":
    main()
