/** The shape of a small line chart. */

export const SPARK_WIDTH = 240;
export const SPARK_HEIGHT = 44;

/** Points of a polyline, the newest at the right edge; the highest value touches the top. */
export function sparkPoints(values: readonly number[], capacity: number): [number, number][] {
  const top = Math.max(...values, 1);
  const step = SPARK_WIDTH / Math.max(capacity - 1, 1);
  return values.map((value, index) => {
    const x = SPARK_WIDTH - (values.length - 1 - index) * step;
    const y = SPARK_HEIGHT - 2 - (Math.max(value, 0) / top) * (SPARK_HEIGHT - 4);
    return [Number(x.toFixed(1)), Number(y.toFixed(1))];
  });
}
