/**
 * Order of versions, the one of pointers' `min_version` and of the newest runtime: numbers between dots and pluses from
 * the left, 0 for what is missing or no number, and what stands after a dash before what has none (a pre-release before
 * its release, as semver.org has it). The wrapper's `compare` orders in the same way; a test compares the two.
 *
 * @returns -1, 0 or 1.
 */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [numbersOf(a), numbersOf(b)];
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const [x, y] = [left[index] ?? 0, right[index] ?? 0];
    if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}

/** `1.2-rc.1` -> 1, 2, -1, 0, 1: whatever stands at the place of the -1, it is more. */
const numbersOf = (version: string): number[] =>
  version
    .replaceAll('-', '.-1.')
    .split(/[.+]/)
    .map(part => Number.parseInt(part, 10) || 0);
