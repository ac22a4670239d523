import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { array, assert as holds, integer, property, record } from 'fast-check';
import { judgeVersion, mergeReleaseStates } from '../../../server/logic/release-state.ts';
import type { ReleaseState } from '../../../server/logic/release-state.ts';

const word = (serial: number, more: Partial<ReleaseState['channels'][string]> = {}) => ({
  serial,
  yanked: [],
  kill: [],
  minVersion: null,
  ...more,
});

const stateOf = (more: Partial<ReleaseState> = {}): ReleaseState => ({
  floors: { root: 1, timestamp: 5, snapshot: 4, channelSerials: { stable: 2 }, signedTimeMs: 1000 },
  onlineKeys: 'a',
  freshUntilMs: 9000,
  channels: { stable: word(2) },
  queues: { schema: 1, serial: 1, default: 'stable', queues: { early: 'canary' } },
  ...more,
});

describe('what a server keeps of the code store', () => {
  test('an older view changes nothing, a newer one everything', () => {
    const kept = stateOf();
    const older = stateOf({
      floors: { root: 1, timestamp: 3, snapshot: 2, channelSerials: { stable: 1 }, signedTimeMs: 500 },
      freshUntilMs: 99_999,
      channels: { stable: word(1, { minVersion: '0.1' }) },
      queues: { schema: 1, serial: 0, default: 'dev', queues: {} },
    });
    assert.deepEqual(mergeReleaseStates(kept, older), kept);
    assert.deepEqual(mergeReleaseStates(older, kept), kept);
  });

  test('a channel that is left out keeps its last word', () => {
    const kept = stateOf({ channels: { stable: word(2), canary: word(7, { yanked: ['3.0'] }) } });
    const seen = stateOf({ channels: { stable: word(3) } });
    const merged = mergeReleaseStates(kept, seen);
    assert.deepEqual(merged.channels, { stable: word(3), canary: word(7, { yanked: ['3.0'] }) });
  });

  test('other online keys under a newer root start timestamp and snapshot over, and nothing else', () => {
    const driven = stateOf({
      floors: {
        root: 1,
        timestamp: 2 ** 50,
        snapshot: 2 ** 50,
        channelSerials: { stable: 2 },
        signedTimeMs: 1,
      },
    });
    const recovered = stateOf({
      floors: { root: 2, timestamp: 6, snapshot: 5, channelSerials: { stable: 1 }, signedTimeMs: 2 },
      onlineKeys: 'b',
      freshUntilMs: 10_000,
    });
    for (const merged of [mergeReleaseStates(driven, recovered), mergeReleaseStates(recovered, driven)]) {
      assert.deepEqual(merged.floors, {
        root: 2,
        timestamp: 6,
        snapshot: 5,
        channelSerials: { stable: 2 },
        signedTimeMs: 2,
      });
      assert.deepEqual([merged.onlineKeys, merged.freshUntilMs], ['b', 10_000]);
    }
    const sameKeys = mergeReleaseStates(driven, { ...recovered, onlineKeys: 'a' });
    assert.equal(sameKeys.floors.timestamp, 2 ** 50);
  });

  test('whatever servers learn, in whatever order, no version goes back', () => {
    const version = integer({ min: 0, max: 5 });
    const view = record({ root: version, timestamp: version, snapshot: version, serial: version });
    holds(
      property(array(view, { minLength: 1, maxLength: 8 }), views => {
        const states = views.map(({ serial, ...versions }) =>
          stateOf({
            floors: { ...versions, channelSerials: { stable: serial }, signedTimeMs: 0 },
            channels: { stable: word(serial, { yanked: [`${serial}`] }) },
          }),
        );
        const merged = states.reduce((kept, seen) => mergeReleaseStates(kept, seen));
        const most = (key: keyof (typeof views)[number]) => Math.max(...views.map(one => one[key]));
        assert.deepEqual(merged.floors, {
          root: most('root'),
          timestamp: most('timestamp'),
          snapshot: most('snapshot'),
          channelSerials: { stable: most('serial') },
          signedTimeMs: 0,
        });
        assert.deepEqual(merged.channels.stable, word(most('serial'), { yanked: [`${most('serial')}`] }));
        assert.deepEqual(mergeReleaseStates(merged, merged), merged);
      }),
    );
  });
});

test('the word of any channel counts against a version; the least version is of the own channel', () => {
  const state = stateOf({
    channels: {
      stable: word(2, { minVersion: '1.2.0', yanked: ['1.3.0', '1.4.0'], kill: ['1.4.0'] }),
      canary: word(3, { yanked: ['2.0.0'], minVersion: '2.1.0' }),
    },
  });
  const judge = (version: string) => [
    judgeVersion(state, version, 'q1'),
    judgeVersion(state, version, 'early'),
  ];
  assert.deepEqual(judge('1.4.0'), ['killed', 'killed']);
  assert.deepEqual(judge('1.3.0'), ['withdrawn', 'withdrawn']);
  assert.deepEqual(judge('2.0.0'), ['withdrawn', 'withdrawn']);
  assert.deepEqual(judge('1.1.9'), ['withdrawn', 'withdrawn']);
  assert.deepEqual(judge('1.2.0'), ['good', 'withdrawn']);
  assert.deepEqual(judge('2.1.0'), ['good', 'good']);
  assert.equal(judgeVersion(stateOf({ queues: null }), '0.0.1', 'constructor'), 'good');
});
