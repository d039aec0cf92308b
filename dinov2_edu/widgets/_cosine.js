// The way from one value to another along half a cosine, which most schedules of a training run take.

/** The value at step t of n: schedules.cosine_schedule without its warm-up. */
export const cosineAt = (start, end, n, t) => end + (start - end) * (1 + Math.cos(Math.PI * t / n)) / 2;
