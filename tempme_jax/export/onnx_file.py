"""Write the towers of a model as ONNX files."""

import json
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import onnx

from tempme_jax.export.about import METADATA, ExportedModel
from tempme_jax.export.convert import convert_jaxpr
from tempme_jax.export.graph import Graph, hold_constant
from tempme_jax.export.towers import Tower, name_layer_norms


def make_onnx(tower: Tower) -> onnx.ModelProto:
    """Return a tower as a model of ONNX, whose output is `vectors`.

    Raises:
        UnsupportedOperationError: if the tower needs an operation that has no row in the tables.
    """
    graph = Graph()
    inputs = [graph.add_input(name, a.shape, a.dtype) for name, a in tower.inputs.items()]
    with nn.intercept_methods(name_layer_norms):
        traced = jax.make_jaxpr(tower.function)(tower.params, *tower.inputs.values())
    params = [hold_constant(a) for a in jax.tree.leaves(jax.device_get(tower.params))]
    constants = [hold_constant(np.asarray(a)) for a in traced.consts]
    jaxpr = traced.jaxpr
    jaxpr = jaxpr.replace(constvars=[], invars=[*jaxpr.constvars, *jaxpr.invars])
    (vectors,) = convert_jaxpr(graph, jaxpr, [*constants, *params, *inputs])
    return graph.finish({"vectors": vectors}, name=tower.name)


def describe(model: onnx.ModelProto, about: ExportedModel) -> None:
    """Write what is known about a model into its metadata."""
    onnx.helper.set_model_props(model, {METADATA: json.dumps(about)})
    model.producer_name, model.producer_version = "tempme_jax", about["versions"]["tempme_jax"]


def rewrite_about(file: Path, about: ExportedModel) -> None:
    """Replace what an ONNX file says about its model."""
    model = onnx.load(file)
    describe(model, about)
    onnx.save(model, file)
