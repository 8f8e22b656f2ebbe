/** The cherry blossom and the name, drawn as strokes: not every machine has a Japanese font. */

const PETAL = "M50 47C40 40 33 26 39 13c2-4.5 5.5-7 8.2-6.200L50 12l2.8-5.200C55.5 6 59 8.5 61 13c6 13-1 27-11 34z";
const ANGLES = [0, 72, 144, 216, 288];

/** 桜: the tree radical, three strokes of a crown, and a woman below it. */
const SAKURA =
  "M6 33H42M24 8V95M24 35Q18 58 5 71M27 45L41 59M50 11L56 26M68 7L71 23M92 8Q88 19 79 28M45 52H97M67 33Q61 54 53 69Q68 76 89 95M85 53Q79 82 46 95";
/** 守: a roof with a hand's breadth below it. */
const MORI = "M50 5V18M14 38V21H87Q86 29 81 37M13 55H89M64 41V85Q64 95 54 93L47 90M30 66L42 80";

export function Blossom({ size = 28 }: { size?: number }) {
  return (
    <svg className="blossom" width={size} height={size} viewBox="0 0 100 100" aria-hidden="true" focusable="false">
      {ANGLES.map((angle) => (
        <path key={angle} className="petal" d={PETAL} transform={`rotate(${angle} 50 52)`} />
      ))}
      {ANGLES.map((angle) => (
        <g key={angle} transform={`rotate(${angle + 36} 50 52)`}>
          <path className="stamen" d="M50 49V37" />
          <circle className="anther" cx="50" cy="35" r="2.6" />
        </g>
      ))}
      <circle className="heart" cx="50" cy="52" r="4.5" />
    </svg>
  );
}

export function Kanji({ height = 18 }: { height?: number }) {
  return (
    <svg className="kanji" width={height * 2.08} height={height} viewBox="0 0 208 100" aria-hidden="true" focusable="false">
      <path d={SAKURA} />
      <path d={MORI} transform="translate(106 0)" />
    </svg>
  );
}

export function Brand({ large = false }: { large?: boolean }) {
  return (
    <span className={large ? "brand brand-large" : "brand"}>
      <Blossom size={large ? 56 : 30} />
      <span className="brand-name">
        <Kanji height={large ? 26 : 16} />
        <span>Sakuramori</span>
      </span>
    </span>
  );
}
