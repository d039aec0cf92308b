// The projection head: from a token to one score a prototype. Twin: dinov2_edu.heads.ProjectionHead.

/** Name -> shape of a head's weights. */
export function headShapes({ vit: { width }, head_hidden, head_bottleneck, n_prototypes }, bottleneck = head_bottleneck) {
  return {
    "mlp.0.weight": [head_hidden, width], "mlp.0.bias": [head_hidden],
    "mlp.2.weight": [head_hidden, head_hidden], "mlp.2.bias": [head_hidden],
    "mlp.4.weight": [bottleneck, head_hidden], "mlp.4.bias": [bottleneck],
    "last_layer.weight_g": [n_prototypes, 1], "last_layer.weight_v": [n_prototypes, bottleneck],
  };
}

/** Logits [rows, prototypes] of tokens [rows, d]. head: name -> tensor. */
export function headLogits(graph, head, tokens) {
  let x = tokens;
  for (const layer of [0, 2, 4]) {
    x = graph.linear(x, head[`mlp.${layer}.weight`], head[`mlp.${layer}.bias`]);
    if (layer < 4) x = graph.gelu(x);
  }
  const directions = graph.unitRows(head["last_layer.weight_v"], head["last_layer.weight_g"]);
  // Here the "weight" is an activation: its gradient starts at 0 as that of any weight.
  if (graph.tape) directions.grad = graph.engine.zeros(directions.rows, directions.cols);
  return graph.linear(graph.unitRows(x), directions, null);
}
