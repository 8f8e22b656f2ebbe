import { RATES_KEPT } from "../api/live";
import { rate } from "../text/number";
import { SPARK_HEIGHT, SPARK_WIDTH, sparkPoints } from "../text/spark";

/** Fewer samples than this are spread over the width as if they were so many. */
const WIDTH_AT_LEAST = 6;

export function Sparkline({ values }: { values: readonly number[] }) {
  const capacity = Math.min(RATES_KEPT, Math.max(WIDTH_AT_LEAST, values.length));
  const points = sparkPoints(values, capacity);
  const line = points.map(([x, y]) => `${x},${y}`).join(" ");
  const first = points[0];
  const last = points.at(-1);
  const label = last ? `Now ${rate(values.at(-1) ?? 0)}, at most ${rate(Math.max(...values))}` : "No sample yet";
  return (
    <svg
      className="spark"
      viewBox={`0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      {first && last && (
        <polygon className="spark-area" points={`${first[0]},${SPARK_HEIGHT} ${line} ${last[0]},${SPARK_HEIGHT}`} />
      )}
      <polyline className="spark-line" points={line} vectorEffect="non-scaling-stroke" />
    </svg>
  );
}
