// Where a crop is cut. Twin: dinov2_edu.crops.boxes_from_uniform.
import { roundHalfEven } from "./_numbers.js";

const N_TRIES = 10;
export const N_UNIFORMS = 2 * N_TRIES + 2;

/**
 * A box [top, left, height, width] in whole pixels from 22 uniform numbers: torchvision's rule.
 *
 * Numbers 0-9 choose the area of ten tries, 10-19 their log aspect ratio, 20 the top and 21 the left edge. The first
 * try that fits counts; if none does, the box is the largest centred one with an allowed ratio.
 */
export function boxFromUniform(uniform, [imageHeight, imageWidth], scale, ratio) {
  const [logLow, logHigh] = ratio.map(Math.log);
  for (let i = 0; i < N_TRIES; i++) {
    const area = imageHeight * imageWidth * (scale[0] + (scale[1] - scale[0]) * uniform[i]);
    const aspect = Math.exp(logLow + (logHigh - logLow) * uniform[N_TRIES + i]);
    const width = roundHalfEven(Math.sqrt(area * aspect));
    const height = roundHalfEven(Math.sqrt(area / aspect));
    if (width < 1 || width > imageWidth || height < 1 || height > imageHeight) continue;
    const top = Math.floor(uniform[2 * N_TRIES] * (imageHeight - height + 1));
    const left = Math.floor(uniform[2 * N_TRIES + 1] * (imageWidth - width + 1));
    return [top, left, height, width];
  }
  return centreBox(imageHeight, imageWidth, ratio);
}

function centreBox(imageHeight, imageWidth, ratio) {
  const aspect = imageWidth / imageHeight;
  const height = aspect < ratio[0] ? Math.max(1, roundHalfEven(imageWidth / ratio[0])) : imageHeight;
  const width = aspect > ratio[1] ? Math.max(1, roundHalfEven(imageHeight * ratio[1])) : imageWidth;
  return [Math.floor((imageHeight - height) / 2), Math.floor((imageWidth - width) / 2), height, width];
}
