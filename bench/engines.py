"""The engine alone against the processor's own limit: `python -m bench.engines`.

The limit is what matrix products reach on the same cores in the same minute, one stream for each
core; the engine cannot be faster than that, whatever the machine does besides. Both take turns.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from bench.images import describe_machine
from classifier.artifact import ONNX_FILE, ModelArtifact
from classifier.cpus import usable_cpus
from classifier.engines import create_engine
from classifier.engines.onnx_runtime import PART
from classifier.nn.complexity import count_graph_multiply_adds
from classifier.preprocessing import INPUT_SIZE

SIDE = 768
SIZES = {1: 8, 4: 4, 16: 2, 64: 1}  # images at once: calls in a turn


def main() -> None:
    """Print rates, shares of the limit, and where the time of one core goes."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("--turns", type=int, default=15, help="of each (default 15)")
    parser.add_argument("--engine", default="onnxruntime")
    options = parser.parse_args()
    artifact = ModelArtifact.load()
    engine = create_engine(options.engine)
    engine.load(artifact)
    engine.warm_up()
    images = np.random.default_rng(1).integers(0, 256, (64, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    cores = usable_cpus()
    product = _matrix_product()
    limits, rates = [], defaultdict(list)
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(options.turns):
            taken = _seconds(lambda: list(pool.map(product, range(4 * cores))))
            limits.append(4 * cores * SIDE**3 / taken)
            for size, calls in SIZES.items():
                rates[size].append(size / _seconds(partial(engine.classify, images[:size]), calls))
    best = min(_seconds(partial(product, 0)) for _ in range(40))
    work = sum(count_graph_multiply_adds(onnx.load(artifact.path(ONNX_FILE))).values())
    limit = statistics.median(limits)
    print(f"{describe_machine()}\n{engine.name}, {work / 1e6:.0f} M multiply-adds an image")
    print(
        f"Limit: {limit / 1e9:.0f} G multiply-adds a second, {limit / work:.0f} images a second\n"
    )
    print("| images at once | images/s | ms for all | share of the limit |\n|---:|---:|---:|---:|")
    for size, found in rates.items():
        # Shares within one turn: what else the machine did hit both.
        share = statistics.median(
            rate * work / top for rate, top in zip(found, limits, strict=True)
        )
        rate = statistics.median(found)
        print(f"| {size} | {rate:.0f} | {1000 * size / rate:.1f} | {100 * share:.0f} % |")
    print(f"\nOne core, best of 40 products: {SIDE**3 / best / 1e9:.1f} G multiply-adds a second")
    _print_profile(artifact.path(ONNX_FILE))


def _matrix_product() -> Callable[[int], object]:
    """A product of two matrices on the calling thread's core, by the runtime that is measured."""
    shape = [SIDE, SIDE]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "ab"],
        [onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, shape)],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    matrix = np.random.default_rng(2).random((SIDE, SIDE), np.float32)
    return lambda _: session.run(None, {"a": matrix, "b": matrix})


def _seconds(call: Callable[[], object], calls: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls


def _print_profile(path: Path) -> None:
    """Where one core's time goes, by kind of node: the least of many runs of each node."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        images = np.zeros((PART, INPUT_SIZE, INPUT_SIZE, 3), np.float32)
        for _ in range(40):
            session.run(None, {"image": images})
        events = json.loads(Path(session.end_profiling()).read_text())
    least: dict[tuple[str, str], int] = {}
    for event in events:
        if event["name"].endswith("_kernel_time"):
            key = _kind(event["args"]), event["name"]
            least[key] = min(least.get(key, event["dur"]), event["dur"])
    kinds: dict[str, int] = defaultdict(int)
    for (kind, _), microseconds in least.items():
        kinds[kind] += microseconds
    total = sum(kinds.values())
    print(f"\nOne core, {PART} at once: {total / 1000 / PART:.2f} ms an image")
    for kind, microseconds in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"{100 * microseconds / total:5.1f} %  {kind}")


def _kind(arguments: dict[str, object]) -> str:
    name = str(arguments["op_name"])
    if name != "Conv":
        return name
    shapes: list[dict[str, list[int]]] = arguments["input_type_shape"]  # type: ignore[assignment]
    _, inputs, height, width = shapes[1]["float"]
    if inputs == 1:
        return f"Conv, depthwise {height}x{width}"
    return f"Conv, {height}x{width}"


if __name__ == "__main__":
    main()
