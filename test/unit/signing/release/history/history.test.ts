import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LogEntry } from '../../../../../signing/release/repository/event-log.ts';
import { historyOf } from '../../../../../signing/release/history/history.ts';
import { targetFile } from '../../../../../signing/release/metadata/role-metadata.ts';

/** A log; entry n was made at minute n. */
function logOf(...events: [role: string, action: string, details?: LogEntry['details']][]): LogEntry[] {
  return events.map(([role, action, details = {}], index) => ({
    seq: index + 1,
    at: minute(index + 1),
    by: 'ann',
    action,
    role,
    version: 1,
    sha256: null,
    keys: [{ name: `${role}-key`, keyId: '0'.repeat(64) }],
    details,
    previous: '0'.repeat(64),
  }));
}
const minute = (n: number) => `2026-01-01T00:${String(n).padStart(2, '0')}:00Z`;
const add = (version: string): [string, string, LogEntry['details']] => [
  'releases',
  'add',
  { target: `pilot/${version}/pilot-${version}.tar.gz`, targetSha256: version, commit: `commit-${version}` },
];
const move = (channel: string, pilot: string, serial: number, more: LogEntry['details'] = {}) =>
  [channel, 'promote', { pilot, serial, previous: null, ...more }] as [string, string, LogEntry['details']];
const published: [string, string] = ['timestamp', 'publish'];

test('a version knows who added it, when it became public, and which channels had it for how long', () => {
  const entries = logOf(
    ['releases', 'init'],
    ['timestamp', 'init'],
    add('1.0'), // 3
    ['releases', 'runtime', { target: 'runtime/26/node-26-linux-x64.tar.gz' }],
    move('canary', '1.0', 1, { percent: 10, sites: 2 }), // 5
    ['snapshot', 'publish'],
    published, // 7
    ['timestamp', 'refresh'], // 8
    add('1.1'),
    move('canary', '1.1', 2, { previous: '1.0' }), // 10
    published, // 11
  );
  const targets = new Map(
    ['1.1'].map(version => {
      const path = `pilot/${version}/pilot-${version}.tar.gz`;
      return [path, targetFile({ path, length: 1, sha256: '0'.repeat(64), custom: { commit: 'signed' } })];
    }),
  );
  const history = historyOf(entries, targets);
  assert.deepEqual(
    history.versions.map(({ version, commit, added, release }) => [
      version,
      commit,
      added.at,
      added.publicAt,
      added.by,
      added.keys,
      release === null,
    ]),
    [
      ['1.1', 'signed', minute(9), minute(11), 'ann', ['releases-key'], false],
      ['1.0', 'commit-1.0', minute(3), minute(7), 'ann', ['releases-key'], true],
    ],
  );
  const [first] = history.versions[1]!.channels;
  assert.deepEqual(
    [first!.channel, first!.publicAt, first!.until, first!.percent, first!.sites],
    ['canary', minute(7), minute(11), 10, 2],
  );
  assert.deepEqual(
    history.channels.canary.map(({ version, previous, until }) => [version, previous, until]),
    [
      ['1.0', null, minute(11)],
      ['1.1', '1.0', null],
    ],
  );
  assert.deepEqual(history.channels.stable, []);
});

test('a pointer that another one replaced before anybody saw it is no history; the last one says it is not public', () => {
  const { channels } = historyOf(
    logOf(move('dev', '1.0', 1), published, move('dev', '1.1', 2), move('dev', '1.2', 2), [
      'timestamp',
      'refresh',
    ]),
    new Map(),
  );
  assert.deepEqual(
    channels.dev.map(({ version, publicAt, until }) => [version, publicAt, until]),
    [
      ['1.0', minute(2), null],
      ['1.2', null, null],
    ],
  );
});

test('a withdrawal is told of the version and of the channels', () => {
  const { versions, channels } = historyOf(
    logOf(
      add('1.0'),
      add('1.1'),
      move('stable', '1.1', 1),
      published,
      ['stable', 'revoke', { pilot: '1.0', serial: 2, revoked: '1.1' }],
      ['releases', 'revoke', { revoked: '1.1' }],
      published,
      ['stable', 'resign'],
      ['releases', 'resign'],
    ),
    new Map(),
  );
  assert.equal(versions[0]!.revoked?.publicAt, minute(7));
  assert.equal(versions[1]!.revoked, null);
  assert.deepEqual(
    channels.stable.map(({ version, revoked }) => [version, revoked]),
    [
      ['1.1', null],
      ['1.0', '1.1'],
    ],
  );
});

test('a proposal is no history before enough people signed it', () => {
  const proposal = ['stable', 'propose', { pilot: '1.1', serial: 2, action: 'promote' }] as const;
  const { channels } = historyOf(
    logOf(move('stable', '1.0', 1), published, [...proposal], published, move('stable', '1.1', 2), published),
    new Map(),
  );
  assert.deepEqual(
    channels.stable.map(({ seq, version, publicAt, until }) => [seq, version, publicAt, until]),
    [
      [1, '1.0', minute(2), minute(6)],
      [5, '1.1', minute(6), null],
    ],
  );
});
