import { createHash } from 'node:crypto';

/**
 * The order in which siblings are asked for an object: highest random weight (rendezvous hashing, Thaler and Ravishankar
 * 1998), so that every cache of a site asks the same sibling first, and different objects different ones.
 */
export function siblingOrder<T extends { readonly url: string }>(
  siblings: readonly T[],
  object: string,
): T[] {
  return siblings
    .map(sibling => ({ sibling, weight: weightOf(sibling.url, object) }))
    .sort((a, b) => (a.weight < b.weight ? 1 : -1))
    .map(({ sibling }) => sibling);
}

const weightOf = (url: string, object: string): string =>
  createHash('sha256').update(`${url} ${object}`).digest('hex');
