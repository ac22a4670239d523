import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Metadata, Targets } from '@tufjs/models';
import * as fc from 'fast-check';
import {
  MAX_DELEGATIONS,
  searchDelegations,
} from '../../../../../signing/release/metadata/search-delegations.ts';

interface Edge {
  name: string;
  paths?: string[];
  path_hash_prefixes?: string[];
  terminating?: boolean;
}

function role(
  targets: string[],
  delegations: Edge[] | { succinct_roles: Record<string, string | number | string[]> } = [],
): Metadata<Targets> {
  const basics = { keyids: [], threshold: 1, terminating: false };
  const file = { length: 1, hashes: { sha256: 'ab' } };
  const signed = Targets.fromJSON({
    _type: 'targets',
    spec_version: '1.0.31',
    version: 1,
    expires: '2030-01-01T00:00:00Z',
    targets: Object.fromEntries(targets.map(path => [path, file])),
    delegations: Array.isArray(delegations)
      ? { keys: {}, roles: delegations.map(edge => ({ ...basics, paths: undefined, ...edge })) as never }
      : { keys: {}, ...delegations },
  });
  return new Metadata(signed);
}

/** Roles that were looked into, in order, and whether the target was found. */
function search(
  graph: Record<string, Metadata<Targets>>,
  path: string,
): { visited: string[]; found: boolean } {
  const visited: string[] = [];
  const steps = searchDelegations(path, name => graph[name], 'here');
  let step = steps.next();
  for (; step.done !== true; step = steps.next()) {
    visited.push(step.value.role);
    assert.ok(visited.length <= MAX_DELEGATIONS + 1, 'it ends');
  }
  return { visited, found: step.value !== undefined };
}

const any = ['*'];

test('depth first, in the order of the delegations, each role once', () => {
  const graph = {
    targets: role(
      [],
      [
        { name: 'A', paths: any },
        { name: 'B', paths: any },
      ],
    ),
    A: role(
      [],
      [
        { name: 'C', paths: any },
        { name: 'B', paths: ['other'] },
      ],
    ),
    B: role(['x']),
    C: role(
      [],
      [
        { name: 'A', paths: any },
        { name: 'targets', paths: any },
      ].slice(0, 1),
    ),
  };
  assert.deepEqual(search(graph, 'x'), { visited: ['targets', 'A', 'C', 'B'], found: true });
  assert.deepEqual(search(graph, 'constructor'), { visited: ['targets', 'A', 'C', 'B'], found: false });
});

test('a terminating delegation ends the search behind it, its own delegations not', () => {
  const graph = {
    targets: role(
      [],
      [
        { name: 'A', paths: any },
        { name: 'B', paths: any },
      ],
    ),
    A: role(
      [],
      [
        { name: 'C', paths: any, terminating: true },
        { name: 'D', paths: any },
      ],
    ),
    B: role(['x']),
    C: role([], [{ name: 'E', paths: any }]),
    D: role(['x']),
    E: role([]),
  };
  assert.deepEqual(search(graph, 'x'), { visited: ['targets', 'A', 'C', 'E'], found: false });
});

test('a role that may not sign a path is not asked, whatever it lists', () => {
  const graph = {
    targets: role(
      [],
      [
        { name: 'A', paths: ['a/*'] },
        { name: 'B', paths: ['b/*'] },
      ],
    ),
    A: role(['b/x', 'a/x']),
    B: role([]),
  };
  assert.deepEqual(search(graph, 'b/x'), { visited: ['targets', 'B'], found: false });
  assert.deepEqual(search(graph, 'a/x'), { visited: ['targets', 'A'], found: true });
});

test('hash prefixes and hash bins choose by the sha256 of the path', () => {
  const digest = createHash('sha256').update('some/path').digest('hex');
  const prefixed = {
    targets: role(
      [],
      [
        { name: 'A', path_hash_prefixes: [digest[0] === 'f' ? '0' : 'f'] },
        { name: 'B', path_hash_prefixes: ['zz', digest.slice(0, 3)] },
      ],
    ),
    A: role(['some/path']),
    B: role(['some/path']),
  };
  assert.deepEqual(search(prefixed, 'some/path'), { visited: ['targets', 'B'], found: true });
  const bin = `bin-${(Number.parseInt(digest.slice(0, 4), 16) >>> 6).toString(16).padStart(3, '0')}`;
  const binned = {
    targets: role([], {
      succinct_roles: { keyids: [], threshold: 1, bit_length: 10, name_prefix: 'bin' },
    }),
    [bin]: role(['some/path']),
  };
  assert.deepEqual(search(binned, 'some/path'), { visited: ['targets', bin], found: true });
});

test('more than 32 delegated roles for one target are refused', () => {
  const wide = (count: number) => ({
    targets: role(
      [],
      Array.from({ length: count }, (_, index) => ({ name: `r${index}`, paths: any })),
    ),
  });
  assert.equal(search(wide(32), 'x').visited.length, 33);
  assert.throws(() => search(wide(33), 'x'), { code: 'E_TARGET_UNKNOWN', where: 'here' });
  const deep: Record<string, Metadata<Targets>> = { targets: role([], [{ name: 'd0', paths: any }]) };
  for (let i = 0; i < 40; i += 1) deep[`d${i}`] = role([], [{ name: `d${i + 1}`, paths: any }]);
  assert.throws(() => search(deep, 'x'), { code: 'E_TARGET_UNKNOWN' });
});

test('whatever the graph, the search ends, asks each role once, and finds what the plain recursion finds', () => {
  const names = ['A', 'B', 'C', 'D', 'E', 'F'];
  const edge = fc.record({
    name: fc.constantFrom(...names),
    paths: fc.constantFrom(any, ['x'], ['y']),
    terminating: fc.boolean(),
  });
  const node = fc.record({
    targets: fc.subarray(['x', 'y'], { maxLength: 1 }),
    edges: fc.uniqueArray(edge, { selector: ({ name }) => name, maxLength: 4 }),
  });
  fc.assert(
    fc.property(fc.tuple(...[...names, 'targets'].map(() => node)), nodes => {
      const drawn = Object.fromEntries([...names, 'targets'].map((name, index) => [name, nodes[index]!]));
      const graph = Object.fromEntries(
        Object.entries(drawn).map(([name, { targets, edges }]) => [name, role(targets, edges)]),
      );
      const { visited, found } = search(graph, 'x');
      assert.equal(new Set(visited).size, visited.length);
      const seen = new Set<string>();
      // True or false: decided; undefined: go on with the next one.
      const walk = (name: string): boolean | undefined => {
        if (seen.has(name)) return undefined;
        seen.add(name);
        if (drawn[name]!.targets.includes('x')) return true;
        for (const { name: next, paths, terminating } of drawn[name]!.edges) {
          if (paths[0] === 'y') continue;
          const below = walk(next);
          if (below !== undefined) return below;
          if (terminating) return false;
        }
        return undefined;
      };
      assert.equal(found, walk('targets') === true);
      assert.deepEqual(visited, [...seen]);
    }),
    { numRuns: 1000 },
  );
});
