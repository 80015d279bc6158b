"""Operators of mutation: what becomes of one instruction of PTX. What is the same program by construction isn't made."""

import operator
import re
import struct

ORDER = {name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}

INSTRUCTION = re.compile(r"(?P<before>\s*\{?\s*)(?P<guard>@!?%\w+\s+)?(?P<opcode>[a-z][\w.:]*)(?P<space>\s*)(?P<rest>[^;]*);(?P<after>[^;]*)")


class Kernel:
    """What is known of a kernel's registers: the one instruction that writes each, and those that read it."""

    def __init__(self, lines):
        self.writer, self.readers = {}, {}
        for i in map(Instruction, lines):
            for n, operand in enumerate(i.operand):
                written = n == 0 and i.part[0] not in ("st", "bra", "bar", "cp", "red")
                for name in re.findall(r"%\w+", operand):
                    if written:
                        self.writer[name] = None if name in self.writer else i
                    else:
                        self.readers.setdefault(name, []).append(i)
            if i.opcode and i.found["guard"]:
                self.readers.setdefault(i.found["guard"].strip("@! \t"), []).append(i)

    def value(self, operand, known, depth=5):
        """A number, if the operand is one where the registers `known` have their values; else None."""
        if operand in known:
            return known[operand]
        if not operand.startswith("%"):
            return number(operand)
        i = self.writer.get(operand)
        if not i or not depth:
            return None
        if i.part[0] == "selp":
            holds = self.holds(i.operand[3], known, depth - 1)
            return None if holds is None else self.value(i.operand[1 if holds else 2], known, depth - 1)
        if len(i.operand) > 3:
            return None
        of = [self.value(o, known, depth - 1) for o in i.operand[1:]]
        if None in of:
            return None
        if i.part[0] in ("mov", "cvt"):
            return of[0] if i.part[0] == "mov" or not {"f32", "f64"} & set(i.part) else None
        if i.part[0] == "neg":
            return -of[0]
        if i.part[0] == "shl" and 0 <= of[0] < 1 << 16 and 0 <= of[1] < 8:
            return of[0] << of[1]
        return None


    def holds(self, predicate, known, depth):
        """Is it true? None: not known."""
        i = self.writer.get(predicate)
        if not i or i.part[0] != "setp" or i.part[1] not in ORDER:
            return None
        sides = [self.value(o, known, depth) for o in i.operand[1:3]]
        return None if None in sides else ORDER[i.part[1]](*sides)


def number(operand):
    """A whole number, or a float that isn't 0: signs of 0 are told apart."""
    if re.fullmatch(r"-?\d+", operand):
        return int(operand)
    if re.fullmatch(r"0f[0-9a-fA-F]{8}", operand):
        return struct.unpack(">f", bytes.fromhex(operand[2:]))[0] or None
    if re.fullmatch(r"0d[0-9a-fA-F]{16}", operand):
        return struct.unpack(">d", bytes.fromhex(operand[2:]))[0] or None
    return None


class Instruction:
    def __init__(self, line, kernel=None):
        found = INSTRUCTION.fullmatch(line.split("//")[0])
        self.opcode, self.found, self.kernel = found["opcode"] if found else "", found, kernel
        self.part = self.opcode.split(".")
        self.operand = [o.strip() for o in re.split(r",(?![^{\[]*[}\]])", found["rest"])] if found else []

    def line(self, opcode=None, operand=None, guard=None):
        f = self.found
        guard = (f["guard"] or "") if guard is None else guard
        return f"{f['before']}{guard}{opcode or self.opcode} {', '.join(operand or self.operand)};{f['after']}"

    def without(self):
        return f"{self.found['before']};{self.found['after']}"

    def with_operand(self, k, text):
        return self.line(operand=self.operand[:k] + [text] + self.operand[k + 1 :])


# ---- operators: what becomes of an instruction; None: they don't apply ----


def in_braces(text):
    return [t.strip() for t in text.strip("{} ").split(",")]


def barrier_removed(i):
    return i.without() if i.part[0] in ("bar", "barrier") else None


def wait_looser(i):
    if i.opcode == "cp.async.wait_all":
        return i.without()
    return i.with_operand(0, str(int(i.operand[0]) + 1)) if i.opcode == "cp.async.wait_group" else None


def copy_dropped(i):
    return i.without() if i.opcode.startswith(("cp.async.ca", "cp.async.cg")) else None


def swapped_registers(i, operand, a, b):
    if i.part[0] != "mma":
        return None
    names = in_braces(i.operand[operand])
    if names[a] == names[b]:
        return None
    names[a], names[b] = names[b], names[a]
    return i.with_operand(operand, "{" + ",".join(names) + "}")


def mma_a_swapped(i):
    return swapped_registers(i, 1, 1, 2)


def mma_b_swapped(i):
    return swapped_registers(i, 2, 0, 1)


def shifted(i, k, by):
    base, _, offset = i.operand[k].strip("[]").partition("+")
    return i.with_operand(k, f"[{base}+{int(offset or 0) + by}]")


def access_width(i):
    vector = next((int(p[1]) for p in i.part if re.fullmatch(r"v[24]", p)), 1)
    return int(i.part[-1][1:]) // 8 * vector


def ldmatrix_shifted(i):
    return shifted(i, 1, 16) if i.part[0] == "ldmatrix" else None


def load_shifted(i):
    return shifted(i, 1, access_width(i)) if i.part[0] == "ld" and "param" not in i.part else None


def store_shifted(i):
    return shifted(i, 0, access_width(i)) if i.part[0] == "st" else None


def store_dropped(i):
    return i.without() if i.part[0] in ("st", "red") else None


def opcode_swapped(i, a, b):
    other = {a: b, b: a}.get(i.part[0])
    return other and i.line(opcode=".".join([other] + i.part[1:]))


def is_zero(operand):
    return bool(re.fullmatch(r"0|0[fd][08]0+", operand))


def max_min(i):
    return opcode_swapped(i, "max", "min") if len(set(i.operand[1:])) > 1 else None


def add_sub(i, kinds):
    if i.part[0] not in ("add", "sub") or i.part[-1] not in kinds or is_zero(i.operand[2]):
        return None
    return opcode_swapped(i, "add", "sub")


def float_add_sub(i):
    return add_sub(i, ("f32", "f64"))


def whole_add_sub(i):
    return add_sub(i, ("s16", "u16", "s32", "u32", "s64", "u64"))


def comparison(i, other):
    if i.part[0] != "setp" or i.part[1] not in other:
        return None
    return i.line(opcode=".".join(["setp", other[i.part[1]]] + i.part[2:]))


def comparison_negated(i):
    return comparison(i, {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"})


def same_where_equal(i):
    """Does the comparison only choose between two values that are the same number where its sides are equal? Then x < 8 ? x : 8
    is x <= 8 ? x : 8: no other program."""
    readers = i.kernel.readers.get(i.operand[0], []) if i.kernel else []
    side = number(i.operand[2])
    if not readers or any(r.part[0] != "selp" or r.operand[3] != i.operand[0] for r in readers):
        return False
    for r in readers:
        plain = {r.operand[1], r.operand[2]} == {i.operand[1], i.operand[2]} and i.part[-1] not in ("f32", "f64")
        chosen = [side is not None and i.kernel.value(r.operand[k], {i.operand[1]: side}) for k in (1, 2)]
        if not plain and (chosen[0] is False or chosen[0] is None or chosen[0] != chosen[1]):
            return False
    return True


def comparison_off_by_one(i):
    if i.part[0] == "setp" and same_where_equal(i):
        return None
    return comparison(i, {"lt": "le", "le": "lt", "gt": "ge", "ge": "gt"})


def shuffle_lane(i):
    """Half the distance, one more if that is 1 or 0; it often lies in a register."""
    if i.part[0] != "shfl":
        return None
    lane = i.kernel.value(i.operand[2], {}) if i.kernel else number(i.operand[2])
    return None if lane is None else i.with_operand(2, str(lane // 2 if lane > 1 else lane + 1))


def guard_negated(i):
    guard = i.found["guard"]
    return guard and i.line(guard=guard.replace("@!", "@") if "!" in guard else guard.replace("@", "@!"))


def constant_plus_one(i):
    """Of whole numbers; of waits, barriers and shuffles there are others."""
    if i.part[0] in ("cp", "bar", "barrier", "shfl", "ld", "st") or not re.fullmatch(r"[busp]\w+", i.part[-1]):
        return None
    k = next((k for k, o in enumerate(i.operand) if k and re.fullmatch(r"-?\d+", o)), 0)
    return k and i.with_operand(k, str(int(i.operand[k]) + 1))


def addend_dropped(i):
    if i.part[0] != "fma" or is_zero(i.operand[3]):
        return None
    return i.with_operand(3, "0f00000000" if i.part[-1] == "f32" else "0d0000000000000000")


def choice_swapped(i):
    if i.part[0] != "selp" or i.operand[1] == i.operand[2]:
        return None
    return i.line(operand=[i.operand[0], i.operand[2], i.operand[1], i.operand[3]])


OPERATORS = [
    barrier_removed, wait_looser, copy_dropped, mma_a_swapped, mma_b_swapped, ldmatrix_shifted, load_shifted, store_shifted,
    store_dropped, max_min, float_add_sub, whole_add_sub, comparison_negated, comparison_off_by_one, shuffle_lane,
    guard_negated, constant_plus_one, addend_dropped, choice_swapped,
]  # fmt: skip
