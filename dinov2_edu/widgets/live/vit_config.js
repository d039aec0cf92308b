// The sizes of a Vision Transformer and the names and shapes of its weights. Twin: dinov2_edu.vit.config.ViTConfig and
// the state_dict of VisionTransformer.

export const VIT_DEFAULTS = {
  img_size: 224, patch_size: 14, in_channels: 3, width: 384, depth: 12, heads: 6, mlp_ratio: 4, ffn: "mlp",
  n_registers: 0, layer_scale: 1e-5, drop_path: 0, init_std: 0.02, init: "official", interpolate_offset: 0.1,
  interpolate_antialias: false,
};

/** Name -> shape of every weight, as `state_dict()` has them. Throws an Error for what the page cannot run. */
export function backboneShapes({ img_size, patch_size, in_channels, width, depth, heads, mlp_ratio, ffn, n_registers,
  layer_scale }) {
  if (ffn !== "mlp") throw new Error(`This page runs feed-forwards of kind "mlp" only, not "${ffn}" (ViT-g).`);
  if (width % 4 || width % heads) throw new Error(`The width ${width} must be a multiple of 4 and of ${heads} heads.`);
  const hidden = Math.floor(width * mlp_ratio);
  const block = {
    "norm1.weight": [width], "norm1.bias": [width],
    "attn.qkv.weight": [3 * width, width], "attn.qkv.bias": [3 * width],
    "attn.proj.weight": [width, width], "attn.proj.bias": [width],
    ...(layer_scale === null ? {} : { "ls1.gamma": [width] }),
    "norm2.weight": [width], "norm2.bias": [width],
    "mlp.fc1.weight": [hidden, width], "mlp.fc1.bias": [hidden],
    "mlp.fc2.weight": [width, hidden], "mlp.fc2.bias": [width],
    ...(layer_scale === null ? {} : { "ls2.gamma": [width] }),
  };
  const shapes = {
    cls_token: [1, 1, width], pos_embed: [1, 1 + (img_size / patch_size) ** 2, width], mask_token: [1, width],
    ...(n_registers ? { register_tokens: [1, n_registers, width] } : {}),
    "patch_embed.proj.weight": [width, in_channels, patch_size, patch_size], "patch_embed.proj.bias": [width],
  };
  for (let i = 0; i < depth; i++) {
    for (const [name, shape] of Object.entries(block)) shapes[`blocks.${i}.${name}`] = shape;
  }
  return { ...shapes, "norm.weight": [width], "norm.bias": [width] };
}

/** A shape as rows and columns of a matrix: a convolution's kernel is a row, all else ends in its columns. */
export function matrixForm(shape) {
  const size = shape.reduce((product, n) => product * n, 1);
  const cols = shape.length === 4 ? size / shape[0] : shape.at(-1);
  return [size / cols, cols];
}
