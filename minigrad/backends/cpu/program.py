"""From a graph to native code: what is computed in which step, and the text of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from minigrad.backends.layout import Place
from minigrad.backends.memory import Buffer
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.errors import CompileError, MinigradError
from minigrad.passes.affine import Affine, Var, flatten
from minigrad.passes.bodies import Body, bodies
from minigrad.passes.covered import covered
from minigrad.passes.kernels import Contraction, Kernel, Loops, Options, Special
from minigrad.passes.layout import strides_of
from minigrad.passes.lower import lower
from minigrad.passes.numbers import loaded_numbers
from minigrad.shapes import Axes

from .code import Code
from .jit import load
from .layout import Layout
from .reuse import reuse
from .rows import loops_code
from .target import Target, current_target
from .tiles import contraction_code
from .transpose import copy_code

__all__ = ["Program", "Step", "program_of"]


def parts(operand: int, result: int) -> int:
    """Return into how many parts a reduction is divided."""
    if operand < 16384 or result >= 16384:
        return 1
    rows = operand // (32 * result)  # joining the parts must stay cheap beside adding them up
    return max(2, min(16, operand // 8192, rows))


#: Bytes of a result above which it is stored past the cache.
_STREAM = 8 << 20


def product_parts(result: int, inner: int) -> int:
    """Return into how many parts the inner loop of a product is divided."""
    return 16 if inner >= 4096 and result <= 65536 else 1


@dataclass(slots=True, eq=False)
class Step:
    """Something that a plan runs: native code, or a reference function where there is none."""

    kernel: Kernel
    body: Body | None
    code: Code | None
    what: str
    name: str = ""
    operands: list[Node] = field(default_factory=list)


class Program:
    """The steps of a graph, their memory and their code.

    ``reuse`` maps the number of a result to the input whose memory it may take: the new
    value of a state cell, and its old one.
    """

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph = graph
        self.target = target
        lowered = loaded_numbers(lower(graph))
        count = len(graph.outputs)
        self.flags = set(lowered.outputs[count:])
        self.results = (*lowered.outputs[:count], *(n for _, n in lowered.updates))
        self.schedule, self.bodies = bodies(
            lowered, Options(parts=parts, product_parts=product_parts)
        )
        self.layout = Layout(self.schedule, self.flags)
        self._read = {i for n in lowered.nodes for i in n.inputs}
        self.parts: dict[Node, int] = {}
        self.steps = self._ordered(self._steps())
        self._touch()
        self.reuse = reuse(self)
        self.text = ""
        self.addresses: dict[str, int] = {}

    # Steps --------------------------------------------------------------------------

    def _steps(self) -> list[Step]:
        """Return the steps in the order of the schedule, with their code."""
        found: list[Step] = []
        written: dict[Loops, Step] = {}
        for kernel, body in zip(self.schedule.kernels, self.bodies, strict=True):
            try:
                found += self._steps_of(kernel, body, written)
            except MinigradError:
                raise
            except Exception as error:
                raise unwritten("a kernel", error, self.described(kernel)) from error
        return found

    def _steps_of(
        self, kernel: Kernel, body: Body | None, written: dict[Loops, Step]
    ) -> list[Step]:
        if isinstance(kernel, Special):
            return [self._reference(kernel)]
        if isinstance(kernel, Loops) and kernel.like is not None:
            return [self._alike(kernel, written[kernel.like])]
        assert body is not None
        if isinstance(kernel, Contraction):
            return self._contraction(kernel, body)
        steps = self._loops(kernel, body)
        written[kernel] = steps[-1]
        return steps

    def _alike(self, kernel: Loops, step: Step) -> Step:
        """Return the step of a kernel that does to its nodes what another does to others."""
        other, place, code = step.kernel, self.layout.place, step.code
        assert isinstance(other, Loops) and code is not None
        slots = {
            place(old).buffer: place(new).buffer
            for old, new in zip(
                (other.sinks[0].target, *other.leaves), (kernel.sinks[0].target, *kernel.leaves),
                strict=True,
            )
        }  # fmt: skip
        return Step(kernel, None, replace(code, slots=[slots[b] for b in code.slots]), step.what)

    def _contraction(self, kernel: Contraction, body: Body) -> list[Step]:
        def packed(nbytes: int) -> int:
            return self.layout.scratch(Buffer("arena", nbytes))

        codes = contraction_code(
            body, self.target, self.layout.place, self.layout.partial, self.parts, packed
        )
        return [
            Step(kernel, body, code, "pack" if code is not codes[-1] else "tiles") for code in codes
        ]

    def _loops(self, kernel: Loops, body: Body) -> list[Step]:
        found: list[Step] = []

        def copied(node: Node, order: Axes, goal: Place | None) -> Place:
            place, code = self._copied(node, order, goal)
            found.append(Step(kernel, body, code, "transpose"))
            return place

        code = loops_code(
            body, self.target, self.layout.place, self.layout.partial, self.parts, copied,
            self._streams,
        )  # fmt: skip
        if code is not None:
            found.append(Step(kernel, body, code, "rows" if kernel.domain else "loops"))
        return found

    def _streams(self, node: Node) -> bool:
        """Whether a node is a large result that nothing here reads: it may pass by the cache."""
        if node not in self.layout.results or node.aval.nbytes < _STREAM or node in self._read:
            return False
        return all(node is not n for _, n in self.schedule.graph.updates)

    def _copied(self, node: Node, order: Axes, goal: Place | None) -> tuple[Place, Code]:
        """Return where a node lies after it was copied to another order of axes, and how."""
        origin, shape = self.layout.place(node), node.aval.shape
        if goal is None:
            buffer = self.layout.scratch(Buffer("arena", node.aval.nbytes))
            goal = Place(buffer, 0, strides_of(shape, order), node.aval.dtype)
        loops = [Var(n) for n in shape]
        index = tuple(Affine.of(v) for v in loops)
        code = copy_code(
            self.target, node.aval.dtype, origin.buffer, goal.buffer,
            flatten(index, origin.strides) + origin.offset,
            flatten(index, goal.strides) + goal.offset,
            [v for v in loops if v.extent > 1],
        )  # fmt: skip
        return goal, code

    def _reference(self, kernel: Special) -> Step:
        step = Step(kernel, None, None, "reference")
        step.operands = [*kernel.node.inputs, kernel.node]
        for node in step.operands:
            self.layout.place(node)
        return step

    def _ordered(self, steps: Sequence[Step]) -> list[Step]:
        """Put checks first and new state last on each level: what fails leaves state alone."""
        updates = {node for _, node in self.graph.updates}

        def rank(step: Step) -> tuple[int, int]:
            targets = {s.target for s in getattr(step.kernel, "sinks", ())}
            first = 0 if targets & self.flags else 2 if targets & updates else 1
            return step.kernel.level, first

        return sorted(steps, key=rank)

    def checks(self, step: Step) -> bool:
        """Whether a step writes the word that tells of an index out of range."""
        return any(s.target in self.flags for s in getattr(step.kernel, "sinks", ()))

    def slots(self, step: Step) -> list[int]:
        """Return the buffers that a step uses."""
        if step.code is not None:
            return step.code.slots
        return [self.layout.place(n).buffer for n in step.operands]

    def _touch(self) -> None:
        for number, step in enumerate(self.steps):
            for slot in self.slots(step):
                self.layout.buffers[slot].touch(number)

    # Code ---------------------------------------------------------------------------

    def compile(self) -> None:
        """Compile the text of all steps; equal ones share a function.

        Raises
        ------
        CompileError
            If LLVM does not accept a kernel; the error names the nodes that it computes.
        """
        texts: dict[str, str] = {}
        declarations: set[str] = set()
        for step in self.steps:
            if step.code is not None:
                if step.code.text not in texts:
                    texts[step.code.text] = f"k{len(texts)}"
                    declarations |= step.code.declarations
                step.name = texts[step.code.text]
        self.text = _module(texts, declarations)
        if not texts:
            return
        try:
            self.addresses = load(self.text, list(texts.values()), target=self.target)
        except CompileError as error:
            self._blame(error)
            raise

    def _blame(self, error: CompileError) -> None:
        """Add the nodes of the first kernel that cannot be compiled to an error."""
        for step in self.steps:
            if step.code is None:
                continue
            text = _module({step.code.text: step.name}, step.code.declarations)
            try:
                load(text, [step.name], target=self.target)
            except CompileError as alone:
                error.operands = (*alone.operands, *self.described(step.kernel))
                return

    def described(self, kernel: Kernel) -> list[str]:
        """Return lines that name the nodes which a kernel computes, the last ones if many."""
        found = [n.describe() for n in covered(self.schedule, kernel)[0]]
        return found[-_NAMED:]


#: How many nodes of a kernel an error names.
_NAMED = 6


def _module(texts: Mapping[str, str], declarations: Collection[str]) -> str:
    """Return the module of functions: their bodies, and what each is called."""
    given = "ptr noalias %table, ptr noalias %map, i64 %lo, i64 %hi, i64 %chunk"
    functions = [
        f"define void @{name}({given}) nounwind alignstack(64) {{\n{body}\n}}"
        for body, name in texts.items()
    ]
    return "\n".join([*functions, *sorted(declarations), "!0 = !{}", "!1 = !{i32 1}", ""])


def program_of(graph: Graph) -> Program:
    """Return the compiled program of a final graph, for the present target.

    Raises
    ------
    CompileError
        If a kernel cannot be written or compiled. It names the nodes; nothing is left behind.
    """
    try:
        program = Program(graph, current_target())
    except MinigradError:
        raise
    except Exception as error:
        raise unwritten(
            f"the graph {graph.name}", error, [n.describe() for n in graph.outputs]
        ) from error
    program.compile()
    return program


def unwritten(what: str, error: Exception, operands: Sequence[str]) -> CompileError:
    """Return the error for something that no native code could be written for."""
    reason = str(error) or type(error).__name__
    return CompileError(
        f"no native code could be written for {what}: {reason}",
        operands=operands,
        rule="every graph that the reference can run has native code: this is a bug in minigrad",
        fix='use backend="numpy" until it is repaired',
    )
