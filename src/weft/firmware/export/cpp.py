"""The adder graph as C++ on integer codes: the same numbers as the hardware, with nothing to include.

Every value is the integer that the hardware carries, in 64 bits; intermediate results have 128, so that no shift
overflows. Written from the operations of the graph, and not from its Verilog.
"""

from __future__ import annotations

from weft.adder_graph import AdderGraph, Step

_WIDEN = "static inline i128 at(i64 x, int by) { return by >= 0 ? (i128)x << by : (i128)x >> -by; }"
_WRAP = """\
static inline i64 wrap(i128 x, int k, int width) {
    if (width <= 0) return 0;
    const i128 one = 1, mask = (one << width) - 1;
    const i128 low = x & mask;
    return (i64)(k && (low >> (width - 1)) ? low - (one << width) : low);
}"""


def compute_function(graph: AdderGraph, name: str = "compute") -> str:
    """Return C++ that defines `void name(const long long* in, long long* out)` on port codes.

    The codes are those of `weft.adder_graph.to_codes`. It needs a compiler with `__int128`, as g++ is on 64 bits.
    """
    steps, outputs = graph.steps()
    lines = [_statement(number, step, steps) for number, step in enumerate(steps)]
    for j, (number, shift, negated) in enumerate(outputs):
        if number < 0 or not sum(graph.output_kif[:, j]):
            lines.append(f"out[{j}] = 0;")
            continue
        by = int(graph.output_kif[2, j]) - steps[number].kif[2] + shift
        lines.append(f"out[{j}] = (i64)({'-' * negated}at(v{number}, {by}));")
    tables = [
        f"static const i64 t{number}[] = {{{', '.join(map(str, step.data))}}};"
        for number, step in enumerate(steps)
        if step.kind == "table"
    ]
    body = "\n".join(f"    {line}" for line in lines)
    head = ["typedef long long i64;", "typedef __int128 i128;", _WIDEN, _WRAP, *tables]
    return "\n".join([*head, f"static void {name}(const i64* in, i64* out) {{", body, "}", ""])


def _statement(number: int, step: Step, steps: list[Step]) -> str:
    k, i, f = step.kif
    width = k + i + f
    operands = [steps[n] for n in step.operands]
    at = [f"at(v{n}, {{}})" for n in step.operands]

    def common(shift: int) -> tuple[str, str, int]:
        """Return both operands on the finer of their grids, and that grid's fraction bits."""
        fine = max(operands[0].kif[2], operands[1].kif[2] - shift)
        return (
            at[0].format(fine - operands[0].kif[2]),
            at[1].format(fine - operands[1].kif[2] + shift),
            fine,
        )

    def to_grid(expression: str, fine: int) -> str:
        return f"({expression}) {'<<' if f > fine else '>>'} {abs(f - fine)}" if f != fine else expression

    data = step.data
    match step.kind:
        case "input":
            value = f"in[{data[0]}]"
        case "constant":
            value = f"{data[0]}LL"
        case "negative":
            value = f"-{at[0].format(f - operands[0].kif[2])}"
        case "add" | "subtract":
            a, b, fine = common(data[0])
            value = to_grid(f"{a} {'+' if step.kind == 'add' else '-'} {b}", fine)
        case "sum":
            signs, shifts = data[::2], data[1::2]
            fine = max(one.kif[2] - shift for one, shift in zip(operands, shifts, strict=False))
            terms = [
                f"{'+' if sign else '-'} {part.format(fine - one.kif[2] + shift)}"
                for sign, shift, one, part in zip(signs, shifts, operands, at, strict=False)
            ]
            value = to_grid(" ".join(terms), fine)
        case "offset":
            fine = max(operands[0].kif[2], data[1])
            value = to_grid(f"{at[0].format(fine - operands[0].kif[2])} + at({data[0]}LL, {fine - data[1]})", fine)
        case "relu":
            value = f"v{step.operands[0]} > 0 ? wrap({at[0].format(f - operands[0].kif[2])}, {k}, {width}) : 0"
        case "quantize":
            value = f"wrap({at[0].format(f - operands[0].kif[2] + data[0])}, {k}, {width})"
        case "choose":
            key = operands[2]
            top = sum(key.kif) - 1
            asked = f"v{step.operands[2]} < 0" if key.kif[0] else f"(v{step.operands[2]} >> {max(top, 0)}) & 1"
            first = at[0].format(f - operands[0].kif[2])
            second = at[1].format(f - operands[1].kif[2] + data[0])
            value = f"({asked}) ? wrap({first}, {k}, {width}) : wrap({second}, {k}, {width})"
        case "multiply":
            value = to_grid(f"(i128)v{step.operands[0]} * v{step.operands[1]}", sum(one.kif[2] for one in operands))
        case "table":
            value = f"t{number}[v{step.operands[0]} - ({operands[0].least}LL)]"
        case "not":
            value = f"wrap(~(i128)v{step.operands[0]}, {k}, {width})"
        case "any":
            value = f"at(v{step.operands[0]} != 0, {f})"
        case "all":
            ones = -1 if operands[0].kif[0] else 2 ** sum(operands[0].kif) - 1
            value = f"at(v{step.operands[0]} == {ones}LL, {f})"
        case _:
            a, b, fine = common(data[0])
            sign = {"and": "&", "or": "|", "xor": "^"}[step.kind]
            value = f"wrap({to_grid(f'{a} {sign} {b}', fine)}, {k}, {width})"
    return f"const i64 v{number} = (i64)({value});"
