"""The import direction: every module may use what stands below it, and nothing above."""

from house.sources import Module, imports, product

LAYERS = [
    {"errors", "dims", "types", "files", "cache", "dlpack"},
    {"arith", "scalars", "expr", "index", "site"},
    {"graph"},
    {"precision"},
    {"ops"},
    {"rewrite", "grad", "batch", "cost", "identity"},
    {"control"},
    {"passes"},
    {"kernels"},
    {"loops"},
    {"show", "stages", "results", "runner", "arguments"},
    {"compile"},
    {"cli"},
]
LEVEL = {layer: level for level, layers in enumerate(LAYERS) for layer in layers}
FACE = "graphc"
"""`graphc/__init__.py` only hands names on, so it may reach everywhere."""

FRONTENDS_BELOW = {
    "frontends.nn": {"frontends.dsl"},
    "frontends.optim": {"frontends.dsl"},
    "frontends.onnx": {"frontends.dsl", "frontends.nn"},
    "frontends.training": {"frontends.dsl", "frontends.nn", "frontends.optim", "frontends.data"},
}
"""Frontends do not know each other; but layers and optimisers are written in the DSL, and training
puts all of them together."""

TOP = {"cli"}
"""The command line is a user of the frontends like any other; nothing imports it."""

INSIDE_FUNCTIONS = {
    ("graphc.compile", "importlib"): "the loader of backends",
}
"""Imports inside functions, each with its reason. Backends and optional extras only."""


def allowed(module: Module, target: str) -> bool:
    """Whether `module` may import from the layer `target`."""
    layer = module.layer
    if layer == target or module.name == FACE:
        return True
    if layer in LEVEL and target in LEVEL:
        return LEVEL[target] <= LEVEL[layer]
    if target in LEVEL:
        return target not in TOP
    return target in FRONTENDS_BELOW.get(layer, ()) or (layer in TOP and "frontends." in target)


def layer_of(name: str, known: set[str]) -> str:
    """The layer that an imported name belongs to: the longest known one that begins it."""
    parts = name.split(".")[1:]
    return next((".".join(parts[:n]) for n in (2, 1) if ".".join(parts[:n]) in known), "")


def test_imports_point_downwards():
    known = {module.layer for module in product()} | set(LEVEL)
    wrong = [
        f"{module.file}:{statement.lineno} imports {name}"
        for module in product()
        for statement, name in imports(module.tree)
        if name.split(".")[0] == "graphc"
        if not allowed(module, layer_of(name, known))
    ]
    assert not wrong


def test_every_core_module_has_a_place_in_the_order():
    core = {module.layer for module in product() if module.inside("graphc")} - {""}
    assert core <= set(LEVEL), f"give {sorted(core - set(LEVEL))} a place in LAYERS"


def test_imports_stand_at_the_top_of_the_file():
    wrong = [
        f"{module.file}:{statement.lineno} imports {name}"
        for module in product()
        for statement, name in imports(module.tree)
        if statement.col_offset > 0
        if (module.name, name.split(".")[0]) not in INSIDE_FUNCTIONS
    ]
    assert not wrong


def test_kernels_and_loops_do_not_compute_with_numpy():
    wrong = [
        f"{module.file}:{statement.lineno}"
        for module in product()
        if module.inside("graphc/kernels", "graphc/loops")
        for statement, name in imports(module.tree)
        if name.split(".")[0] == "numpy"
    ]
    assert not wrong
