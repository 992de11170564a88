// The arithmetic of specimens/differential.py and specimens/reference.py once more, so that the
// counts follow a key in the same frame. The server's result is what is signed; a test holds the two
// against each other. Amounts are whole numbers of tenths or hundredths: nothing is rounded twice.

const REPORTED = ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil"];
const EPSILON = 1e-15;
const TINY = 1e-300;
const ALPHA = 0.05;

/** Tenths of a per cent that sum to exactly 1000 (largest remainder); all zero of nothing. */
export function percentages(counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return counts.map(() => 0);
  const tenths = counts.map((count) => Math.floor((count * 1000) / total));
  const rest = counts.map((count) => (count * 1000) % total);
  const order = counts.map((_, i) => i).sort((a, b) => rest[b] - rest[a] || counts[b] - counts[a] || a - b);
  const missing = 1000 - tenths.reduce((sum, value) => sum + value, 0);
  for (const i of order.slice(0, missing)) tenths[i] += 1;
  return tenths;
}

const logFactorials = [0];

function logFactorial(n) {
  for (let i = logFactorials.length; i <= n; i += 1) logFactorials.push(logFactorials[i - 1] + Math.log(i));
  return logFactorials[n];
}

const notZero = (value) => (Math.abs(value) > TINY ? value : TINY);

/** Continued fraction of the incomplete beta function by the modified Lentz method. */
function betaFraction(x, a, b) {
  let c = 1;
  let d = 1 / notZero(1 - ((a + b) * x) / (a + 1));
  let value = d;
  for (let m = 1; m < 10000; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    for (const numerator of [even, odd]) {
      d = 1 / notZero(1 + numerator * d);
      c = notZero(1 + numerator / c);
      value *= d * c;
    }
    if (Math.abs(d * c - 1) < EPSILON) break;
  }
  return value;
}

/** Regularised incomplete beta function I_x(a, b) of whole a and b. */
function incompleteBeta(x, a, b) {
  if (x <= 0 || x >= 1) return Math.min(Math.max(x, 0), 1);
  const logBeta = logFactorial(a + b - 1) - logFactorial(a - 1) - logFactorial(b - 1);
  const front = Math.exp(logBeta + a * Math.log(x) + b * Math.log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return (front * betaFraction(x, a, b)) / a;
  return 1 - (front * betaFraction(1 - x, b, a)) / b;
}

function inverseBeta(probability, a, b) {
  let low = 0;
  let high = 1;
  for (let i = 0; i < 60; i += 1) {
    const middle = (low + high) / 2;
    if (incompleteBeta(middle, a, b) < probability) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

const known = new Map();

/** Exact 95 % limits of a proportion, 0..1 (Clopper and Pearson); 0 and 1 of nothing. */
export function clopperPearson(successes, trials) {
  if (trials === 0) return [0, 1];
  const key = successes * 1e6 + trials;
  if (!known.has(key)) {
    const lower = successes > 0 ? inverseBeta(ALPHA / 2, successes, trials - successes + 1) : 0;
    const upper = successes < trials ? inverseBeta(1 - ALPHA / 2, successes + 1, trials - successes) : 1;
    known.set(key, [lower, upper]);
  }
  return known.get(key);
}

/** The decimal text of a number with two places at most, as a whole number of hundredths. */
export const hundredths = (text) => Math.round(Number(text) * 100);

/** numerator / denominator, half up; both whole and not negative. */
const halfUp = (numerator, denominator) => Math.floor((2 * numerator + denominator) / (2 * denominator));

/** normal, low, high, critical_low or critical_high; `value` in hundredths, `limits` as texts. */
export function judge(value, limits) {
  const outside = (name, compare) => limits[name] != null && compare(value, hundredths(limits[name]));
  const below = (a, b) => a < b;
  const above = (a, b) => a > b;
  if (outside("critical_low", below)) return "critical_low";
  if (outside("critical_high", above)) return "critical_high";
  if (outside("low", below)) return "low";
  if (outside("high", above)) return "high";
  return "normal";
}

/**
 * The differential of `counts` (cells by class key). `classes` as the page has them; `wbc` is the
 * analyser's count as text, or null. Percentages and amounts come back as the texts to show.
 */
export function differential(counts, classes, wbc) {
  const of = (key) => counts.get(key) ?? 0;
  const byKey = new Map(classes.map((one) => [one.key, one]));
  const others = classes.filter((one) => one.wbc && !REPORTED.includes(one.key) && of(one.key));
  const shown = [...REPORTED.map((key) => byKey.get(key)), ...others];
  const numbers = shown.map((one) => of(one.key));
  const total = numbers.reduce((sum, count) => sum + count, 0);
  const tenths = percentages(numbers);
  const rows = shown.map((one, i) => {
    const [lower, upper] = clopperPearson(numbers[i], total);
    const absolute = wbc === null || total === 0 ? null : halfUp(hundredths(wbc) * numbers[i], total);
    return {
      key: one.key,
      count: numbers[i],
      percent: (tenths[i] / 10).toFixed(1),
      tenths: tenths[i],
      lower: 100 * lower,
      upper: 100 * upper,
      absolute: absolute === null ? null : (absolute / 100).toFixed(2),
    };
  });
  const nonWbc = classes
    .filter((one) => !one.wbc && one.key !== "unidentified" && of(one.key))
    .map((one) => ({
      key: one.key,
      count: of(one.key),
      per100: total ? (halfUp(1000 * of(one.key), total) / 10).toFixed(1) : null,
    }));
  return { rows, nonWbc, counted: total, unidentified: of("unidentified") };
}
